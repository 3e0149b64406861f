-- How many keys units were hashed with: who came under several of them is as many units.
SELECT COUNT(DISTINCT unit_key_id) AS keys
FROM units
