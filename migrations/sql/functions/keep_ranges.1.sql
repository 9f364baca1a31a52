-- Moves the sequence to the next boundary once a day, or when a range is nearly full, so that a range
-- of ids is about a day (free under load), and keeps four ranges ready ahead of it. The first call
-- only notes the day. The day's row is locked before the sequence is read: of two calls at once the
-- second must not set it back to where the first has left it, below ids given since.
create function perdure.keep_ranges() returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    at bigint;
    made integer := 0;
    began timestamptz;
    old boolean;
begin
    set local lock_timeout = '500ms';
    select (s.value #>> '{}')::timestamptz into began
    from perdure.settings as s where s.key = 'range_began_at' for update;
    old := coalesce(began < clock_timestamp() - interval '1 day', false);
    at := (select last_value from tasks_id_seq);
    if old and at % 100000000 > 1000 or at % 100000000 > 90000000 then
        at := greatest(at, coalesce((select max(id) from perdure.tasks_default), 0));
        at := (at / 100000000 + 1) * 100000000;
        perform setval('tasks_id_seq', at, false);
    end if;
    if began is null or old then
        insert into perdure.settings (key, value) values ('range_began_at', to_jsonb(clock_timestamp()))
        on conflict (key) do update set value = excluded.value;
    end if;
    for number in at / 100000000 .. at / 100000000 + 4 loop
        if to_regclass(format('%I.%I', (current_schemas(false))[2], 'tasks_' || number)) is null
                and perdure.make_range(number) then
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;
