-- Every outcome that was known then, by its id: the least and the most of what it says are one, or it contradicts itself.
WITH said AS (
    SELECT outcome_id, COUNT(*) AS copies,
           MIN({{'key': unit_key_id, 'unit': unit, 'request': request_id, 'ts': ts, 'name': name, 'value': value}}) AS least,
           MAX({{'key': unit_key_id, 'unit': unit, 'request': request_id, 'ts': ts, 'name': name, 'value': value}}) AS most
    FROM outcomes
    WHERE ingested <= {as_of}
    GROUP BY outcome_id
)
SELECT outcome_id, copies, least = most AS agrees, most.key AS unit_key_id, most.unit AS unit, most.request AS request_id,
       most.ts AS ts, most.name AS name, most.value AS value
FROM said
