-- The schedule goes on with its next instant from now on, on its old grid; with catch_up those of the
-- pause are treated like any that are late. resumed, not_paused, not_found.
create function perdure.resume_schedule(key text, catch_up boolean default false) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    update perdure.schedules as s set
        state = 'active',
        plan_from = case when resume_schedule.catch_up then s.plan_from else clock_timestamp() end,
        next_fire_at = case when resume_schedule.catch_up then s.next_fire_at end,
        -- Not when its instant is due: its next time may have been overridden meanwhile.
        look_at = case when resume_schedule.catch_up and s.next_fire_at is not null then clock_timestamp() end
    where s.key = resume_schedule.key and s.state = 'paused';
    if found then
        insert into perdure.audit (action, details) values ('resume_schedule', jsonb_build_object('key', resume_schedule.key));
        perform perdure.wake_schedules();
        return 'resumed';
    end if;
    return case when exists (select from perdure.schedules as s where s.key = resume_schedule.key) then 'not_paused' else 'not_found' end;
end $$;
