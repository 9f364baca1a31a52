-- One number of the schema's settings (limits in bytes).
create function perdure.setting(name text) returns bigint
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select (value #>> '{}')::bigint from perdure.settings where key = name
$$;
