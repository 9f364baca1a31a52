-- Has a task wait for those of its parents that live. Answers which one is missing, or not the session's
-- to see, and how the task ends if one has ended so that it may not go on, and why. One look at each, in one
-- statement: what it finds alive has an edge, and a letter for whoever ends it.
create function perdure.link(task bigint, out missing bigint, out doom text, out because text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off set jit = off as $$
declare
    alive bigint[];
begin
    -- From here on retention leaves them alone; one that it has just removed is missing below.
    perform from (select i.after_id from perdure.inputs as i where i.task_id = link.task order by i.after_id) as i
    cross join lateral (select from perdure.tasks as t where t.id = i.after_id for key share) as t;
    with parents as materialized (
        select i.after_id, i.position, i.rule, t.enqueued_by, o.state, perdure.verdict(i.rule, o.state) as verdict
        from perdure.inputs as i
        left join lateral (select t.enqueued_by from perdure.tasks as t where t.id = i.after_id limit 1) as t on true
        left join lateral (select o.state from perdure.outcomes as o where o.task_id = i.after_id limit 1) as o on true
        where i.task_id = link.task),
    edged as (
        -- One that stands before the task in the line of a unique key, too, is left there.
        insert into perdure.edges as e (task_id, after_id, rule)
        select link.task, p.after_id, p.rule from parents as p
        where p.state is null and p.enqueued_by is not null order by p.after_id
        on conflict (task_id, after_id) do update set rule = excluded.rule
        returning after_id)
    select (array_agg(p.after_id order by p.position) filter (
            where p.enqueued_by is null or (p.enqueued_by = session_user or perdure.sees(p.enqueued_by)) is not true))[1],
        (array_agg(p.verdict order by p.position) filter (where p.verdict is not null and p.state is not null))[1],
        (array_agg('task ' || p.after_id || ' ' || p.state order by p.position) filter (
            where p.verdict is not null and p.state is not null))[1],
        array_agg(p.after_id order by p.after_id) filter (where p.state is null and p.enqueued_by is not null)
    into missing, doom, because, alive
    from parents as p;
    perform perdure.mark_followed(i) from unnest(alive) as i;
end $$;
