-- Exposures that count: drawn by the split, for an enrolled unit, in the time of the experiment, whoever served.
SELECT COALESCE(unit_key_id, '') AS unit_key_id, unit, ts, instance, boot, seq, COALESCE(epoch, '') AS epoch,
       assigned, propensity, reason, code, model, version
FROM records
WHERE route = {route}
  AND reason IN ('SPLIT', 'FALLBACK')
  AND COALESCE(enrolled, TRUE)
  AND COALESCE(experiment, {name}) = {name}
  AND unit IS NOT NULL
  AND copy_of IS NULL
  AND assigned IN ({arms})
  AND ts >= {start}
  AND ts < {stop}
