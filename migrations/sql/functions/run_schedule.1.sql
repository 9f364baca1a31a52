-- One extra task of a schedule, now; it changes nothing else, also while it is paused or finished. It
-- obeys overlap, unless it is forced: fired, queued, skipped, not_found.
create function perdure.run_schedule(key text, force boolean default false)
    returns table (answer text, task_id bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    at timestamptz := clock_timestamp();
begin
    perform from perdure.schedules as s where s.key = run_schedule.key for update;
    if not found then
        answer := 'not_found';
        return next;
        return;
    end if;
    select o.answer, o.task_id into answer, task_id from perdure.occur(run_schedule.key, null, run_schedule.force) as o;
    -- Two within a microsecond, or one at an instant of the schedule itself.
    while exists (select from perdure.fires as f where f.schedule_key = run_schedule.key and f.fire_at = at) loop
        at := at + interval '1 microsecond';
    end loop;
    insert into perdure.fires (schedule_key, fire_at, fate, task_id) values (run_schedule.key, at, 'manual', task_id);
    update perdure.schedules as s set manual = s.manual + 1
    where s.key = run_schedule.key and run_schedule.answer <> 'skipped';
    insert into perdure.audit (action, details) values ('run_schedule', jsonb_strip_nulls(jsonb_build_object(
        'key', run_schedule.key, 'answer', run_schedule.answer, 'task', run_schedule.task_id, 'force', run_schedule.force)));
    return next;
end $$;
