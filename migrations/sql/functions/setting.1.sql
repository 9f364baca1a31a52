-- One number of the schema's settings (limits in bytes). Not in SQL: that would be planned anew in
-- each transaction.
create function perdure.setting(name text) returns bigint
    language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return (select (s.value #>> '{}')::bigint from perdure.settings as s where s.key = setting.name);
end $$;
