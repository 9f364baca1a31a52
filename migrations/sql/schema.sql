-- Refuses a database that cannot carry the schema, and makes the schema unless it is there: asked first,
-- because "if not exists" wants the right to create even when there is nothing to create.
do $schema$
begin
    if current_setting('server_version_num')::int < 150000 then
        raise exception 'PostgreSQL % is too old', current_setting('server_version')
            using errcode = 'PD004', hint = 'Perdure needs PostgreSQL 15 or newer.';
    end if;
    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'the database % is encoded in %', current_database(), current_setting('server_encoding')
            using errcode = 'PD004', hint = 'Create one with "create database ... encoding ''UTF8'' template template0".';
    end if;
    if not exists (select from unnest(current_schemas(false)) as s (name) where s.name not like 'pg\_%') then
        create schema perdure;
    end if;
end
$schema$;
