-- A dbt model of examples/trusted_rows.sql: the rows of your model `metrics` whose flag may be used.
SELECT metrics.*
FROM {{ ref('metrics') }} AS metrics
JOIN (
    SELECT *
    FROM {{ source('exd', 'flag_trust') }}
    QUALIFY iteration_start = max(iteration_start) OVER (PARTITION BY namespace, environment, flag_key)
) AS standing USING (flag_key)
WHERE standing.trusted
  AND (standing.waived_until IS NULL OR standing.waived_until > now())
  AND metrics.hour >= standing.iteration_start
  AND metrics.hour < standing.audited_through
