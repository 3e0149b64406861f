-- Outcomes that say one thing, each once, with the unit that did it. One that names a request is of the unit that made it,
-- and nobody's where no request or requests of two units are called so.
WITH torn AS (
    SELECT outcome_id
    FROM contents
    GROUP BY outcome_id
    HAVING COUNT(*) > 1
),
requests AS (
    SELECT request_id, MIN({{'key': unit_key_id, 'unit': unit}}) AS least, MAX({{'key': unit_key_id, 'unit': unit}}) AS most
    FROM records
    WHERE unit IS NOT NULL
      AND copy_of IS NULL
      AND request_id IN (SELECT request_id FROM contents WHERE unit IS NULL)
    GROUP BY request_id
)
SELECT c.name, c.value, c.ts,
       CASE WHEN c.unit IS NULL THEN r.most.key ELSE c.unit_key_id END AS unit_key_id,
       CASE WHEN c.unit IS NULL THEN r.most.unit ELSE c.unit END AS unit
FROM contents AS c
LEFT JOIN torn AS t ON t.outcome_id = c.outcome_id
LEFT JOIN requests AS r ON r.request_id = c.request_id AND r.least = r.most
WHERE t.outcome_id IS NULL
