-- Has the next instant of a schedule happen at another time, once; null takes that back. A time that is
-- past means now. set, not_found, or finished: there is no next instant.
create function perdure.override_next(key text, at timestamptz) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    if override_next.at < '2000-01-01 00:00:00+00' or override_next.at >= '10000-01-01 00:00:00+00' then
        perform perdure.refuse('PD004|at must lie in the years 2000 to 9999|give null to take it back');
    end if;
    update perdure.schedules as s
    set override_at = case when override_next.at is not null then greatest(override_next.at, clock_timestamp()) end,
        look_at = case when s.next_fire_at is not null then clock_timestamp() end
    where s.key = override_next.key and s.state <> 'finished';
    if not found then
        return case when exists (select from perdure.schedules as s where s.key = override_next.key)
            then 'finished' else 'not_found' end;
    end if;
    insert into perdure.audit (action, details)
    values ('override_next', jsonb_build_object('key', override_next.key, 'at', override_next.at));
    perform perdure.wake_schedules();
    return 'set';
end $$;
