-- An error record in the form of every other, for endings that no handler wrote.
create function perdure.fault(kind text, message text default null) returns jsonb
    language sql immutable set search_path = pg_catalog, perdure, pg_temp as $$
    select jsonb_build_object('kind', kind, 'type', null, 'message', message, 'traceback', null, 'error', null)
$$;
