-- Writes what a task that is about to be enqueued follows, and has it wait for those that live. Answers
-- how it ends at once, and why, if one has ended so that it may not go on: the caller sees to that.
create function perdure.follow(task bigint, after jsonb, out doom text, out because text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    missing bigint;
    wrong text := perdure.after_problem(after);
begin
    if wrong is not null then
        perform perdure.refuse(wrong);
    end if;
    insert into perdure.inputs (task_id, after_id, position, label, rule)
    select task, (e.entry ->> 'task')::bigint, e.n, e.entry ->> 'label', coalesce(e.entry ->> 'on_failure', 'fail')
    from jsonb_array_elements(after) with ordinality as e (entry, n);
    select l.missing, l.doom, l.because into missing, doom, because from perdure.link(task) as l;
    if missing is not null then
        perform perdure.refuse('PD004|after: there is no task ' || missing || '|it was removed by retention, never there, or is not yours to see');
    end if;
end $$;
