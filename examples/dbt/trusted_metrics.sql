-- A dbt model of examples/trusted_rows.sql: the rows of your model `metrics` whose flag may be used.
SELECT metrics.*
FROM {{ ref('metrics') }} AS metrics
JOIN (
    SELECT *, max(iteration_start) OVER (PARTITION BY namespace, environment, flag_key) AS newest_iteration
    FROM {{ source('exd', 'flag_trust') }}
) AS standing USING (flag_key)
WHERE standing.iteration_start = standing.newest_iteration
  AND standing.trusted
  AND (standing.waived_until IS NULL OR standing.waived_until > now())
  AND metrics.hour >= standing.iteration_start
  AND metrics.hour < standing.audited_through
