-- Every outcome that was known then, by its id: the least and the most of what it says are one, or it contradicts itself.
SELECT outcome_id, COUNT(*) AS copies,
       MIN({{'key': unit_key_id, 'unit': unit, 'request': request_id, 'ts': ts, 'name': name, 'value': value}}) AS least,
       MAX({{'key': unit_key_id, 'unit': unit, 'request': request_id, 'ts': ts, 'name': name, 'value': value}}) AS most
FROM outcomes
WHERE ingested <= {as_of}
GROUP BY outcome_id
