-- The part of enqueue_many for documents in which tasks follow others of them: one by one, in their
-- order, as each needs the ids of those before.
create function perdure.enqueue_graph(tasks jsonb) returns table ("position" integer, task_id bigint, answer text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    item record;
    known bigint[] := '{}';
    resolved jsonb;
    wrong text;
begin
    perform perdure.lock_entries(tasks);
    for item in
        select (e.n - 1)::integer as at, e.entry
        from jsonb_array_elements(enqueue_graph.tasks) with ordinality as e (entry, n)
        order by e.n
    loop
        resolved := null;
        wrong := null;
        if jsonb_typeof(item.entry -> 'after') = 'array' then
            select coalesce(jsonb_agg(
                    case when a.link ? 'position'
                        then a.link - 'position' || jsonb_build_object('task', known[(a.link ->> 'position')::integer + 1])
                        else a.link end order by a.n), '[]'),
                min(case
                    when jsonb_typeof(a.link) <> 'object' or not a.link ? 'position' then null
                    when a.link ? 'task' or (a.link ->> 'position') !~ '^[0-9]{1,5}$'
                        or (a.link ->> 'position')::integer >= item.at
                        then 'PD004|after: position ' || left(a.link ->> 'position', 40) || ' is not that of an earlier entry|give the position of one before, or the id of a task'
                    end)
            into resolved, wrong
            from jsonb_array_elements(item.entry -> 'after') with ordinality as a (link, n);
            -- One look per id: given a join, the plan might ask of all tasks whose they are.
            wrong := coalesce(wrong, perdure.after_problem(resolved), (
                select min('PD004|after: there is no task ' || i.id || '|it was removed by retention, never there, or is not yours to see')
                from (select (l.link ->> 'task')::bigint as id from jsonb_array_elements(resolved) as l (link)) as i
                left join lateral (select t.enqueued_by from perdure.tasks as t where t.id = i.id limit 1) as t on true
                where i.id <> all (known)
                    and (t.enqueued_by is null or (t.enqueued_by = session_user or perdure.sees(t.enqueued_by)) is not true)));
            if wrong is not null then
                perform perdure.refuse(wrong, item.at);
            end if;
        end if;
        "position" := item.at;
        select made.task_id, made.answer into task_id, answer
        from perdure.enqueue_entry(item.entry, resolved) as made;
        known := known || task_id;
        return next;
    end loop;
end $$;
