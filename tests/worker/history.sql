-- Message number n is one of a thousand a day; every hundredth delivery failed, every tenth message has a channel.
CREATE TEMP TABLE seed AS
SELECT n, (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
           || '8000' || lpad(to_hex(n), 12, '0'))::uuid AS id,
       to_timestamp(ms / 1000.0) AS at
-- It ends with the end of yesterday, so that each day is whole, whatever time it is now.
FROM (SELECT n, (extract(epoch FROM date_trunc('day', now(), 'UTC')) * 1000)::bigint - 1
                - (CAST(:rows AS bigint) - n) * 86400 AS ms
      FROM generate_series(1, CAST(:rows AS integer)) AS n) AS numbers;
INSERT INTO messages (environment_id, id, application_id, event_type, channels, created_at, payload_expires_at,
                      fan_out)
SELECT :organisation, id, :application, 't' || n % 20, CASE WHEN n % 10 = 0 THEN '["x"]'::jsonb END, at,
       now() + interval '1 day', ARRAY[CAST(:endpoint AS uuid)] FROM seed;
INSERT INTO payloads (environment_id, message_id, expires_on, content_type, body)
SELECT :organisation, id, (now() AT TIME ZONE 'utc' + interval '1 day')::date, 'application/json', '{}' FROM seed;
INSERT INTO deliveries (environment_id, endpoint_id, message_id, application_id, status, attempts, finished_at)
SELECT :organisation, :endpoint, id, :application, CASE WHEN n % 100 = 0 THEN 2 ELSE 0 END, 1, at FROM seed;
INSERT INTO attempts (environment_id, id, application_id, endpoint_id, message_id, event_type, trigger, number, status,
                      response_status, response, duration_ms, url, started_at)
SELECT :organisation, id, :application, :endpoint, id, 't' || n % 20, 0, 1, CASE WHEN n % 100 = 0 THEN 2 ELSE 0 END,
       200, '', 1, 'u', at FROM seed;
-- Each day another endpoint is tried too, as the statistics of a partition would have it.
INSERT INTO attempts (environment_id, id, application_id, endpoint_id, message_id, event_type, trigger, number, status,
                      response_status, response, duration_ms, url, started_at)
SELECT :organisation, overlay(id::text PLACING '9' FROM 20 FOR 1)::uuid, :application, :application, id, 't', 0, 1, 0, 200, '', 1, 'u', at
FROM seed WHERE n % 20 = 7;
INSERT INTO due_deliveries (environment_id, endpoint_id, message_id, trigger, application_id, lane, state, due_at,
                            attempt, failures, expires_on, event_type)
SELECT :organisation, CASE WHEN n % 2 = 0 THEN CAST(:quiet AS uuid) ELSE gen_random_uuid() END, id, 0, :application,
       n % 3, CASE WHEN n % 5 = 0 THEN 2 ELSE 0 END, now() + (n - 3000) * interval '1 second', 0, 0, CURRENT_DATE, 't'
FROM seed;
INSERT INTO applications (environment_id, id, kind, name, metadata) VALUES
    (:organisation, :application, 'tenant', 'a', '{}'), (:organisation, :hidden, 'operational', 'o', '{}');
INSERT INTO applications (environment_id, id, name, metadata) SELECT :organisation, id, 'a', '{}' FROM seed;
INSERT INTO endpoints (environment_id, id, application_id, url, description, version, disabled, metadata)
SELECT :organisation, id, CASE WHEN n % 1000 = 0 THEN CAST(:hidden AS uuid) ELSE CAST(:application AS uuid) END,
       'u', '', 1, false, '{}' FROM seed;
INSERT INTO event_types (environment_id, name, description, archived, deprecated, feature_flags)
SELECT :organisation, 't' || lpad(n::text, 6, '0'), '', n % 2 = 0, false, CASE WHEN n % 4 = 1 THEN ARRAY['f'] END
FROM seed;
INSERT INTO background_tasks (environment_id, id, kind, status, request, progress, due_at, created_at)
SELECT :organisation, id, CASE WHEN n % 20 = 0 THEN 'endpoint.replay' ELSE 'endpoint.recover' END,
       CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'finished' END, '{}', '{}', now(), now() - (now() - at) * 0.89
FROM seed;
INSERT INTO audit_events (organisation_id, id, occurred_at, action, outcome, actor_kind, actor_id, actor_label,
                          target_kind, target_id, target_label, user_agent, request_id, count, details)
SELECT :organisation, id, at, 'a.' || n % 100, 'success', 'key', 'key_' || n % 100, '', 'thing', 'thing_' || n % 100, '',
       '', '', 1, '{}' FROM seed;
