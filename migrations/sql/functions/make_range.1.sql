-- Attaches the range of 10^8 ids that begins with number * 10^8 to tasks and outcomes, unless it is
-- there. CREATE LIKE + ATTACH: CREATE .. PARTITION OF would wait for open enqueues and block later
-- ones. Rows of the range that fell into the default partition keep it from being made: false.
create function perdure.make_range(number bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    parent text;
    part text;
    first_id bigint := number * 100000000;
    after_id bigint := (number + 1) * 100000000;
    key text;
    schema text := (current_schemas(false))[2];
begin
    if exists (select from perdure.tasks_default as t where t.id >= first_id and t.id < after_id) then
        return false;
    end if;
    foreach parent in array '{tasks,outcomes}'::text[] loop
        part := parent || '_' || number;
        key := case parent when 'tasks' then 'id' else 'task_id' end;
        continue when to_regclass(format('%I.%I', schema, part)) is not null;
        execute format('create table %I.%I (like %I.%I including all)', schema, part, schema, parent);
        execute format('alter table %I.%I add constraint %I check (%I >= %s and %I < %s)',
            schema, part, part || '_bounds', key, first_id, key, after_id);
        execute format('alter table %I.%I attach partition %I.%I for values from (%s) to (%s)',
            schema, parent, schema, part, first_id, after_id);
        execute format('alter table %I.%I drop constraint %I', schema, part, part || '_bounds');
        if parent = 'tasks' then
            execute format('alter table %I.%I set (autovacuum_vacuum_insert_scale_factor = 0.2)', schema, part);
        end if;
    end loop;
    return true;
end $$;
