-- What became of eligible exposures, and the propensities that they were drawn with.
SELECT COALESCE(epoch, '') AS epoch, assigned AS arm, COUNT(*) AS exposures,
       SUM(CASE WHEN reason = 'FALLBACK' THEN 1 ELSE 0 END) AS fallbacks,
       SUM(CASE WHEN COALESCE(code, 'OK') <> 'OK' THEN 1 ELSE 0 END) AS failed,
       MIN(propensity) AS least_propensity, MAX(propensity) AS most_propensity,
       MIN(ts) AS first, MAX(ts) AS last,
       MIN(CASE WHEN reason = 'SPLIT' THEN version END) AS least_version,
       MAX(CASE WHEN reason = 'SPLIT' THEN version END) AS most_version,
       MIN(CASE WHEN reason = 'SPLIT' THEN model END) AS least_model,
       MAX(CASE WHEN reason = 'SPLIT' THEN model END) AS most_model
FROM eligible
GROUP BY COALESCE(epoch, ''), assigned
ORDER BY 1, 2
