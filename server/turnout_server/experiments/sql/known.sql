-- Outcomes that say one thing, each once, with the unit that did it. One that names a request is of the unit that made it,
-- and nobody's where no request or requests of two units are called so.
WITH requests AS (
    SELECT request_id, MIN({{'key': unit_key_id, 'unit': unit}}) AS least, MAX({{'key': unit_key_id, 'unit': unit}}) AS most
    FROM records
    WHERE unit IS NOT NULL
      AND copy_of IS NULL
      AND request_id IN (SELECT most.request FROM contents WHERE most.unit IS NULL)
    GROUP BY request_id
)
SELECT c.outcome_id, c.most.name AS name, c.most.value AS value, c.most.ts AS ts,
       CASE WHEN c.most.unit IS NULL THEN r.most.key ELSE c.most.key END AS unit_key_id,
       CASE WHEN c.most.unit IS NULL THEN r.most.unit ELSE c.most.unit END AS unit
FROM contents AS c
LEFT JOIN requests AS r ON r.request_id = c.most.request AND r.least = r.most
WHERE c.least = c.most
