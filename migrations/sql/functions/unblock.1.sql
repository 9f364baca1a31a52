-- Tells the followers of a task that has ended: one blocker less each; who has none left goes on, and
-- who may not go on ends as well, by its own edge, which is told to its followers in turn, generation
-- by generation. A follower with a time of its own waits for that next; a delay counts from here. The
-- rows are locked in id order; a follower that a caller's open transaction holds, or whose place in a line, is
-- not waited for: a letter lets promotion come back to it. Answers whether one was left so. Only who takes an edge away
-- counts it: another may have done so between the look at it and the lock.
create function perdure.unblock(ended bigint) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off set jit = off as $$
declare
    told bigint[] := array[ended];
    states text[];
    left_one boolean := false;
    followers bigint[];
    cut_of bigint[];
    cut_after bigint[];
    cut_rule text[];
    freed bigint[];
    next_at timestamptz;
    doomed record;
begin
    while exists (
        select from unnest(told) as i (id) where (select e.task_id from perdure.edges as e where e.after_id = i.id limit 1) is not null)
    loop
        -- Who has been retried since lives, and is followed on; who is gone for good is not.
        select array_agg(i.id), array_agg(coalesce(o.state, 'is gone')) into told, states
        from unnest(told) as i (id)
        left join lateral (select o.state from perdure.outcomes as o where o.task_id = i.id limit 1) as o on true
        where o.state is not null or (select t.id from perdure.tasks as t where t.id = i.id limit 1) is null;
        followers := array(
            select w.task_id
            from (
                select e.task_id, bool_or(perdure.verdict(e.rule, i.state) is not null) as doomed
                from unnest(told, states) as i (id, state)
                cross join lateral (select e.task_id, e.rule from perdure.edges as e where e.after_id = i.id offset 0) as e
                group by e.task_id order by e.task_id) as f
            cross join lateral (
                select w.task_id from perdure.waiting as w where w.task_id = f.task_id for update skip locked) as w
            where not f.doomed or perdure.line_at_hand(w.task_id));
        with picked as materialized (
            select e.row_at
            from unnest(told) as i (id)
            cross join lateral (
                select e.ctid as row_at, e.task_id from perdure.edges as e where e.after_id = i.id offset 0) as e
            where e.task_id = any (followers)),
        cut as (
            delete from perdure.edges where ctid = any (array(select p.row_at from picked as p))
            returning task_id, after_id, rule)
        select array_agg(c.task_id), array_agg(c.after_id), array_agg(c.rule) into cut_of, cut_after, cut_rule from cut as c;
        for doomed in
            select distinct on (c.task_id) c.task_id, perdure.verdict(c.rule, i.state) as doom,
                'task ' || i.id || ' ' || i.state as because
            from unnest(cut_of, cut_after, cut_rule) as c (task_id, after_id, rule)
            join unnest(told, states) as i (id, state) on i.id = c.after_id
            where perdure.verdict(c.rule, i.state) is not null
            order by c.task_id, c.after_id
        loop
            delete from perdure.waiting where task_id = doomed.task_id;
            perform perdure.end_unrun(doomed.task_id, doomed.doom, 'dependency', doomed.because);
        end loop;
        with nearer as (
            update perdure.waiting as w set blockers = w.blockers - c.fewer,
                reason = case when w.blockers = c.fewer then 'delay' else w.reason end,
                due_at = case when w.blockers = c.fewer and w.delay is not null then clock_timestamp() + w.delay else w.due_at end
            from (select i as task_id, count(*)::integer as fewer from unnest(cut_of) as i group by i) as c
            where w.task_id = c.task_id
            returning w.task_id, w.blockers, w.due_at)
        select array_agg(n.task_id order by n.task_id) filter (where n.due_at is null or n.due_at <= now_at),
            min(n.due_at) filter (where n.due_at > now_at)
        into freed, next_at
        from nearer as n cross join (select clock_timestamp() as now_at) as c where n.blockers = 0;
        if next_at is not null then
            perform perdure.wake_at(next_at);
        end if;
        if freed is not null then
            delete from perdure.waiting where task_id = any (freed);
            perform perdure.place(freed);
        end if;
        insert into perdure.mail (task_id, kind)
        select i.id, 'follower' from unnest(told) as i (id)
        where (select e.task_id from perdure.edges as e where e.after_id = i.id limit 1) is not null;
        left_one := left_one or found;
        told := array(
            select i from unnest(followers) as i
            where (select o.task_id from perdure.outcomes as o where o.task_id = i limit 1) is not null);
    end loop;
    return left_one;
end $$;
