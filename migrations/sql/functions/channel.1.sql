-- The NOTIFY channel of this schema; "_mail" is added for letters. Payloads stay empty.
create function perdure.channel() returns text
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select 'perdure_' || left(md5((current_schemas(false))[2]), 16)
$$;
