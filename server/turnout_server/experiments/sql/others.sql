-- What was asked of the route then, and is no exposure: why, and how often.
WITH reasons AS (
    SELECT CASE WHEN copy_of IS NOT NULL THEN 'COPY'
                WHEN reason NOT IN ('SPLIT', 'FALLBACK') THEN reason
                WHEN unit IS NULL THEN 'NO_UNIT'
                WHEN NOT COALESCE(enrolled, TRUE) THEN 'UNENROLLED'
                WHEN COALESCE(experiment, {name}) <> {name} THEN 'OTHER_EXPERIMENT'
                WHEN assigned NOT IN ({arms}) THEN 'OTHER_ARM'
           END AS why
    FROM records
    WHERE route = {route}
      AND ts >= {start}
      AND ts < {stop}
)
SELECT why, COUNT(*) AS records
FROM reasons
WHERE why IS NOT NULL
GROUP BY why
ORDER BY why
