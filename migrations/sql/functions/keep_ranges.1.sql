-- Keeps ranges ready: four ahead of the sequence, which moves to the next boundary once a day, or
-- when a range is nearly full, so that a range is about a day. Moving it is free under load.
create function perdure.keep_ranges() returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    at bigint := (select last_value from tasks_id_seq);
    made integer := 0;
    moved timestamptz := (select (value #>> '{}')::timestamptz from perdure.settings where key = 'range_began_at');
    top bigint;
begin
    set local lock_timeout = '500ms';
    for number in at / 100000000 .. at / 100000000 + 4 loop
        if to_regclass(format('%I.%I', (current_schemas(false))[2], 'tasks_' || number)) is null
                and perdure.make_range(number) then
            made := made + 1;
        end if;
    end loop;
    if moved is null or moved < clock_timestamp() - interval '1 day' or at % 100000000 > 90000000 then
        if moved is not null and at % 100000000 > 1000 then
            top := greatest(at, coalesce((select max(id) from perdure.tasks_default), 0));
            perform setval('tasks_id_seq', (top / 100000000 + 1) * 100000000, false);
        end if;
        insert into perdure.settings (key, value) values ('range_began_at', to_jsonb(clock_timestamp()))
        on conflict (key) do update set value = excluded.value;
    end if;
    return made;
end $$;
