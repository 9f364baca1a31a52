-- Carries out what a worker has decided of schedules that it has looked at: plans, fires, when to look
-- again. Written are those whose row is still the version that it saw, in the order of their keys; one
-- that somebody holds, or has changed meanwhile, is left out, and left to the next look. Each instant is
-- recorded under the row's lock, with its task and the next instant: once. Overlap is judged last, one by
-- one where an occurrence has to queue behind an earlier one or replaces it. Rows: a schedule that was
-- written (fate null), and each instant, or run of instants of one fate.
create function perdure.fire(turns jsonb)
    returns table (key text, fire_at timestamptz, fate text, instants bigint, task_id bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    began timestamptz := clock_timestamp();
    mine text[];
    far text[];
    idle text[];
    before text;
    line bigint[];
begin
    mine := array(
        select s.key from perdure.schedules as s
        join jsonb_to_recordset(turns) as d (key text, version text) on d.key = s.key
        where s.xmin::text = d.version order by s.key for update of s skip locked);
    -- Of whom it is not known yet whether an earlier one lives is left to the next look, which comes at once.
    select l.far, l.idle into far, idle from perdure.seek_live(array(
        select d.key from jsonb_to_recordset(turns) as d (key text, fires jsonb)
        where d.key = any (mine) and d.fires <> '[]')) as l;
    mine := array(select m from unnest(mine) as m where m <> all (far));
    for key, fire_at, fate, instants, task_id in
        with due as materialized (
            select d.key, f.fire_at, f.fate, f.instants, count(*) over (partition by d.key, f.fate) = 1 as single
            from jsonb_to_recordset(turns) as d (key text, fires jsonb)
            cross join lateral jsonb_to_recordset(d.fires) as f (fire_at timestamptz, fate text, instants bigint)
            where d.key = any (mine)
                and (select x.fate from perdure.fires as x where x.schedule_key = d.key and x.fire_at = f.fire_at) is null
        ), judged as materialized (
            select d.key, d.fire_at, d.instants, case
                when d.fate <> 'fired' or s.overlap = 'allow' then d.fate
                when s.key = any (idle) and d.single then 'fired'
                when s.overlap = 'skip' then 'skipped' else 'judge' end as fate
            from due as d join perdure.schedules as s on s.key = d.key
        ), numbered as materialized (
            select j.key, j.fire_at, j.instants, j.fate, case when j.fate = 'fired' then nextval('tasks_id_seq') end as id
            from (select judged.key, judged.fire_at, judged.instants, judged.fate from judged order by 1, 2) as j
        ), made as (
            insert into perdure.tasks (id, name, metadata, queue, priority, tags, requires, headers, max_retries,
                expires_at, schedule_key, fire_at, enqueued_by)
            select n.id, s.name, s.metadata, s.queue, s.priority, s.tags, s.requires, s.headers, s.max_retries,
                n.fire_at + s.expires_after, s.key, n.fire_at, s.put_by
            from numbered as n join perdure.schedules as s on s.key = n.key
            where n.id is not null order by n.id
        ), recorded as (
            insert into perdure.fires (schedule_key, fire_at, fate, count, task_id)
            select n.key, n.fire_at, n.fate, n.instants, n.id from numbered as n where n.fate <> 'judge'
        )
        select n.key, n.fire_at, n.fate, n.instants, n.id from numbered as n
        union all select m, null, null, null, null from unnest(mine || far) as m
        order by 1, 2
    loop
        if fate = 'judge' then
            -- Of many that queue only the first two look at those that live, which may be thousands.
            line := case when key = before then coalesce(line, array(
                select perdure.live_occurrences(s.key, s.oldest_live) from perdure.schedules as s where s.key = fire.key)) end;
            before := key;
            select case o.answer when 'skipped' then 'skipped' else 'fired' end, o.task_id into fate, task_id
            from perdure.occur(key, fire_at, line => line) as o;
            line := case when line is null or task_id is null then line else line || task_id end;
            insert into perdure.fires (schedule_key, fire_at, fate, task_id) values (key, fire_at, fate, task_id);
        end if;
        return next;
    end loop;
    update perdure.schedules as s set
        planned = case when d.problem is null then s.trigger else s.planned end,
        anchor = case when d.problem is null then d.anchor else s.anchor end,
        -- One that is paused stays so, with its problem: what mends it must not let it go on.
        next_fire_at = d.next_fire_at, problem = d.problem,
        look_at = case when d.problem is not null and s.state = 'paused' then 'infinity' else d.look_at end,
        override_at = case when d.fires = '[]' then s.override_at end,
        state = case when d.problem is not null then case s.state when 'paused' then 'paused' else 'broken' end
            when d.next_fire_at is null then 'finished' else s.state end,
        last_fire_at = coalesce(c.last, s.last_fire_at), oldest_live = coalesce(m.live, m.beyond, s.oldest_live),
        fired = s.fired + c.fired, skipped = s.skipped + c.skipped,
        coalesced = s.coalesced + c.coalesced, missed = s.missed + c.missed
    from jsonb_to_recordset(turns) as d (
        key text, anchor timestamptz, next_fire_at timestamptz, look_at timestamptz, problem text, fires jsonb)
    join perdure.schedules as h on h.key = d.key cross join lateral (
        select max(x.fire_at) filter (where x.fate = 'fired') as last,
            count(*) filter (where x.fate = 'fired') as fired, count(*) filter (where x.fate = 'skipped') as skipped,
            coalesce(sum(x.count) filter (where x.fate = 'coalesced'), 0) as coalesced,
            coalesce(sum(x.count) filter (where x.fate = 'missed'), 0) as missed
        from jsonb_to_recordset(d.fires) as f (fire_at timestamptz)
        -- One by one: joined, all that was ever recorded of the schedule might be read.
        cross join lateral (
            select x.fire_at, x.fate, x.count from perdure.fires as x
            where x.schedule_key = d.key and x.fire_at = f.fire_at and x.decided_at >= began limit 1) as x
    ) as c
    cross join lateral perdure.first_live(
        d.key, h.oldest_live, case when h.overlap = 'allow' or d.fires = '[]' then 1000 else 10000 end) as m
    where s.key = d.key and d.key = any (mine);
end $$;
