-- The lanes in which a task may lie in ready: those of its name, and that of names that are not registered.
-- Without a search path, so that the planner can put it in line.
create function perdure.lanes_of(task bigint) returns table (lane integer) language sql stable as $$
    select l.id from perdure.lanes as l join perdure.tasks as t on t.name = l.name where t.id = task
    union all select 0
$$;
