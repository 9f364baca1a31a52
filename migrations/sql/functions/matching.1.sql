-- The tasks that a bulk action means; without any filter it means none and says so. Looks at live
-- tasks only, or at those that ended in the state asked for: ledgers hold many times as many.
create function perdure.matching(
    name text, state text, tag text, unique_key text, queue text, since timestamptz, error_type text
) returns bigint[]
    language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    if num_nonnulls(matching.name, matching.state, matching.tag, matching.unique_key, matching.queue,
            matching.since, matching.error_type) = 0 then
        perform perdure.refuse('PD004|at least one filter is needed|such as a name, a state or a tag');
    elsif matching.state not in ('pending', 'scheduled', 'retrying', 'blocked', 'running', 'suspended',
            'completed', 'failed', 'cancelled') then
        perform perdure.refuse('PD004|there is no such state|pending, scheduled, retrying, blocked, running, suspended, completed, failed, cancelled');
    end if;
    if matching.state in ('completed', 'failed', 'cancelled') then
        return array(
            select s.id from perdure.outcomes as o join perdure.task_states as s on s.id = o.task_id
            where o.state = matching.state
                and (matching.name is null or s.name = matching.name)
                and (matching.tag is null or s.tags @> array[matching.tag])
                and (matching.unique_key is null or s.unique_key = matching.unique_key)
                and (matching.queue is null or s.queue = matching.queue)
                and (matching.since is null or o.finished_at >= matching.since)
                and (matching.error_type is null or o.error ->> 'type' = matching.error_type)
            order by s.id);
    end if;
    return array(
        select s.id
        from (
            select r.task_id from perdure.ready as r
            union all select w.task_id from perdure.waiting as w
            union all select unnest(l.task_ids) from perdure.leases as l
        ) as p
        join perdure.task_states as s on s.id = p.task_id
        where (matching.name is null or s.name = matching.name)
            and (matching.state is null or s.state = matching.state)
            and (matching.tag is null or s.tags @> array[matching.tag])
            and (matching.unique_key is null or s.unique_key = matching.unique_key)
            and (matching.queue is null or s.queue = matching.queue)
        order by s.id);
end $$;
