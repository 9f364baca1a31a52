-- Lets the task that holds a unique key be as the enqueue that found it says: all that was asked, and the time
-- if there is one, which max_delay bounds, counted from the creation of the task. Another name is refused.
create function perdure.say_again(task bigint, name text, changes jsonb, due timestamptz, max_delay interval)
    returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    held record;
begin
    select t.name, t.created_at into held from perdure.tasks as t where t.id = task;
    if held.name <> say_again.name then
        perform perdure.refuse('PD004|unique_key is held by task ' || task || ' of another name|an update changes what a task was asked, not what it is: use another key, or unique_policy replace');
    end if;
    perform perdure.rewrite(task, changes, case when due is not null then least(due, held.created_at + max_delay) end);
end $$;
