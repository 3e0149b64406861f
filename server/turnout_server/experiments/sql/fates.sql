-- What became of outcomes of the names that metrics ask for.
SELECT k.name,
       COUNT(*) AS outcomes,
       SUM(CASE WHEN k.unit IS NULL THEN 1 ELSE 0 END) AS nobodys,
       SUM(CASE WHEN k.unit IS NOT NULL AND u.unit IS NULL THEN 1 ELSE 0 END) AS strangers,
       SUM(CASE WHEN EPOCH_US(k.ts) < EPOCH_US(u.exposed) THEN 1 ELSE 0 END) AS early
FROM known AS k
LEFT JOIN units AS u ON u.unit_key_id = k.unit_key_id AND u.unit = k.unit
WHERE k.name IN ({outcomes})
GROUP BY k.name
ORDER BY k.name
