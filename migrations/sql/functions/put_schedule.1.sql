-- Makes a schedule, or changes it: created, updated, unchanged, kept, replaced. It keeps its phase and its
-- state, unless the trigger is another or keep_phase is false. Exactly one of every, cron and once. What is
-- there is read without a lock first: a worker that starts with what it has put before waits for nobody.
-- For what an open transaction of somebody holds it waits for two seconds, and is refused then (55P03).
-- Times are written in UTC, whatever the zone of the session is: the same trigger is the same text.
create function perdure.put_schedule(
    key text, name text default null, metadata jsonb default '{}', every interval default null, cron text default null,
    timezone text default 'UTC', once timestamptz default null, start_at timestamptz default null,
    end_at timestamptz default null, jitter interval default '0', flex interval default '0',
    misfire_grace interval default null, expires_after interval default null, catch_up text default 'latest',
    max_catch_up integer default 100, overlap text default 'skip', queue text default null, priority integer default null,
    tags text[] default null, requires text[] default null, headers jsonb default null, max_retries integer default null,
    policy text default 'update', keep_phase boolean default true, declared boolean default false
) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp set timezone = 'UTC' set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
    wrong text;
    wanted jsonb;
    had perdure.schedules;
    stays boolean;
    locked boolean := false;
    answer text;
begin
    wrong := coalesce(
        perdure.schedule_problem(put_schedule.key, put_schedule.every, put_schedule.cron, put_schedule.timezone,
            put_schedule.once, put_schedule.start_at, put_schedule.end_at, put_schedule.jitter, put_schedule.flex,
            put_schedule.misfire_grace, put_schedule.expires_after, put_schedule.catch_up, put_schedule.max_catch_up,
            put_schedule.overlap, put_schedule.policy),
        perdure.problem(coalesce(put_schedule.name, ''), coalesce(put_schedule.metadata, 'null'), put_schedule.queue,
            put_schedule.priority, null, put_schedule.tags, put_schedule.requires, put_schedule.headers,
            put_schedule.max_retries, null, null, perdure.setting('metadata_bytes')));
    if wrong is not null then
        perform perdure.refuse(wrong);
    end if;
    wanted := jsonb_strip_nulls(jsonb_build_object(
        'every', extract(epoch from put_schedule.every), 'cron', put_schedule.cron,
        'timezone', case when put_schedule.cron is not null then put_schedule.timezone end, 'once', put_schedule.once,
        'start', put_schedule.start_at, 'end', put_schedule.end_at));
    loop
        had := (select s from perdure.schedules as s where s.key = put_schedule.key);
        if had.key is null then
            insert into perdure.schedules (key, name, metadata, trigger, jitter, flex, misfire_grace, expires_after,
                catch_up, max_catch_up, overlap, queue, priority, tags, requires, headers, max_retries, declared)
            values (put_schedule.key, put_schedule.name, put_schedule.metadata, wanted, put_schedule.jitter,
                put_schedule.flex, put_schedule.misfire_grace, put_schedule.expires_after, put_schedule.catch_up,
                put_schedule.max_catch_up, put_schedule.overlap, put_schedule.queue, put_schedule.priority,
                put_schedule.tags, put_schedule.requires, put_schedule.headers, put_schedule.max_retries, put_schedule.declared)
            on conflict (key) do nothing;
            exit when found;
            continue;
        elsif put_schedule.policy = 'reject' then
            perform perdure.refuse('PD006|there is a schedule of this key|put it with policy update, or delete it first');
        elsif put_schedule.policy = 'keep' then
            return 'kept';
        end if;
        stays := had.trigger = wanted and put_schedule.policy = 'update' and put_schedule.keep_phase;
        if stays and had.state <> 'broken'
            and (had.name, had.metadata, had.jitter, had.flex, had.misfire_grace, had.expires_after, had.catch_up,
                had.max_catch_up, had.overlap, had.queue, had.priority, had.tags, had.requires, had.headers,
                had.max_retries, had.declared)
            is not distinct from (put_schedule.name, put_schedule.metadata, put_schedule.jitter, put_schedule.flex,
                put_schedule.misfire_grace, put_schedule.expires_after, put_schedule.catch_up, put_schedule.max_catch_up,
                put_schedule.overlap, put_schedule.queue, put_schedule.priority::smallint, put_schedule.tags,
                put_schedule.requires, put_schedule.headers, put_schedule.max_retries, put_schedule.declared)
        then
            return 'unchanged';
        end if;
        exit when locked;
        perform from perdure.schedules as s where s.key = put_schedule.key for update;
        locked := found;
    end loop;
    answer := case when had.key is null then 'created' when put_schedule.policy = 'replace' then 'replaced' else 'updated' end;
    perform perdure.withdraw(l.task_id, 'replaced', l.place = 'lease')
    from perdure.lock_tasks(array(
        select perdure.live_occurrences(had.key, had.oldest_live) where answer = 'replaced')) as l;
    if answer <> 'created' then
        update perdure.schedules as s set
            name = put_schedule.name, metadata = put_schedule.metadata, trigger = wanted, jitter = put_schedule.jitter,
            flex = put_schedule.flex, misfire_grace = put_schedule.misfire_grace, expires_after = put_schedule.expires_after,
            catch_up = put_schedule.catch_up, max_catch_up = put_schedule.max_catch_up, overlap = put_schedule.overlap,
            queue = put_schedule.queue, priority = put_schedule.priority, tags = put_schedule.tags,
            requires = put_schedule.requires, headers = put_schedule.headers, max_retries = put_schedule.max_retries,
            declared = put_schedule.declared, generation = s.generation + 1, updated_at = clock_timestamp(), problem = null,
            state = case when put_schedule.policy = 'replace' or s.state = 'broken' or s.state = 'finished' and not stays
                then 'active' else s.state end,
            planned = case when put_schedule.policy = 'replace' or not put_schedule.keep_phase then null else s.planned end,
            plan_from = clock_timestamp(),
            -- What is only timed otherwise keeps its instant, and is looked at again for when it is due.
            next_fire_at = case when stays then s.next_fire_at end,
            look_at = case when stays and s.next_fire_at is not null then clock_timestamp() end,
            override_at = case when put_schedule.policy = 'replace' then null else s.override_at end
        where s.key = put_schedule.key;
    end if;
    insert into perdure.audit (action, details) values ('put_schedule', jsonb_strip_nulls(jsonb_build_object(
        'key', put_schedule.key, 'answer', answer, 'name', put_schedule.name, 'trigger', wanted,
        'declared', put_schedule.declared, 'before', had.trigger)));
    perform perdure.wake_schedules();
    return answer;
end $$;
