-- The part of enqueue_many for documents in which tasks follow others of them: one by one, in their
-- order, as each needs the ids of those before.
create function perdure.enqueue_graph(tasks jsonb) returns table ("position" integer, task_id bigint, answer text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    entry record;
    known bigint[] := '{}';
    resolved jsonb;
    wrong text;
begin
    perform perdure.lock_entries(tasks);
    for entry in
        select (e.n - 1)::integer as at, x.*
        from jsonb_array_elements(enqueue_graph.tasks) with ordinality as e (entry, n)
        cross join lateral jsonb_to_record(e.entry) as x (
            name text, metadata jsonb, queue text, priority integer, delay double precision, run_at timestamptz,
            unique_key text, unique_policy text, tags text[], requires text[], headers jsonb, max_retries integer,
            retry_delays double precision[], execution_metadata jsonb, request_id uuid, after jsonb,
            expires_at timestamptz, deadline_at timestamptz, unique_for double precision, max_delay double precision)
        order by e.n
    loop
        resolved := null;
        wrong := null;
        if jsonb_typeof(entry.after) = 'array' then
            select coalesce(jsonb_agg(
                    case when a.link ? 'position'
                        then a.link - 'position' || jsonb_build_object('task', known[(a.link ->> 'position')::integer + 1])
                        else a.link end order by a.n), '[]'),
                min(case
                    when jsonb_typeof(a.link) <> 'object' or not a.link ? 'position' then null
                    when a.link ? 'task' or (a.link ->> 'position') !~ '^[0-9]{1,5}$'
                        or (a.link ->> 'position')::integer >= entry.at
                        then 'PD004|after: position ' || left(a.link ->> 'position', 40) || ' is not that of an earlier entry|give the position of one before, or the id of a task'
                    end)
            into resolved, wrong
            from jsonb_array_elements(entry.after) with ordinality as a (link, n);
            -- One look per id: given a join, the plan might ask of all tasks whose they are.
            wrong := coalesce(wrong, perdure.after_problem(resolved), (
                select min('PD004|after: there is no task ' || i.id || '|it was removed by retention, never there, or is not yours to see')
                from (select (l.link ->> 'task')::bigint as id from jsonb_array_elements(resolved) as l (link)) as i
                left join lateral (select t.enqueued_by from perdure.tasks as t where t.id = i.id limit 1) as t on true
                where i.id <> all (known)
                    and (t.enqueued_by is null or (t.enqueued_by = session_user or perdure.sees(t.enqueued_by)) is not true)));
            if wrong is not null then
                perform perdure.refuse(wrong, entry.at);
            end if;
        end if;
        "position" := entry.at;
        select made.task_id, made.answer into task_id, answer
        from perdure.enqueue(
            entry.name, coalesce(entry.metadata, '{}'), entry.queue, entry.priority,
            make_interval(secs => entry.delay), entry.run_at, entry.unique_key,
            coalesce(entry.unique_policy, 'keep'), entry.tags, entry.requires, entry.headers,
            entry.max_retries, entry.retry_delays, entry.execution_metadata, entry.request_id, resolved,
            entry.expires_at, entry.deadline_at, make_interval(secs => entry.unique_for),
            make_interval(secs => entry.max_delay)) as made;
        known := known || task_id;
        return next;
    end loop;
end $$;
