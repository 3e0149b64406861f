-- What was known then of every outcome, by its id. An id with several contents contradicts itself.
SELECT outcome_id, unit_key_id, unit, request_id, ts, name, value, COUNT(*) AS copies
FROM outcomes
WHERE ingested <= {as_of}
GROUP BY outcome_id, unit_key_id, unit, request_id, ts, name, value
