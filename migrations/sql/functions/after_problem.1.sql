-- What is wrong with what a task is to follow: "SQLSTATE|message|hint", or null if its form is right.
create function perdure.after_problem(after jsonb) returns text
    language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return case
        when jsonb_typeof(after) <> 'array'
            then 'PD004|after must be a JSON array|[{"task": 1042, "label": "extract", "on_failure": "run"}]'
        when jsonb_array_length(after) > 1000
            then 'PD004|after: at most 1000 tasks|let some of them be followed by one that the others follow'
        else (
            select case
                when jsonb_typeof(e.entry) <> 'object' or e.entry - '{task,label,on_failure}'::text[] <> '{}'
                    or coalesce(e.entry ->> 'task', '') !~ '^[0-9]{1,18}$'
                    then 'PD004|after: an entry has task, the id of one, and may have label and on_failure|[{"task": 1042}]'
                when e.entry ->> 'on_failure' not in ('fail', 'cancel', 'run')
                    then 'PD004|after: on_failure must be fail, cancel or run|fail is the default'
                when jsonb_typeof(e.entry -> 'label') not in ('string', 'null') or char_length(e.entry ->> 'label') not between 1 and 128
                    then 'PD004|after: a label has 1 to 128 characters|leave it out for the name of the task'
                when count(*) over (partition by e.entry ->> 'task') > 1
                    then 'PD004|after: task ' || (e.entry ->> 'task') || ' is given twice|give each task once'
                when e.entry ->> 'label' is not null and count(*) over (partition by e.entry ->> 'label') > 1
                    then 'PD004|after: one label is given twice|give each task a label of its own, or none'
                end
            from jsonb_array_elements(after) with ordinality as e (entry, n)
            order by 1 nulls last limit 1)
    end;
end $$;
