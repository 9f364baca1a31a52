-- Moves what is due from waiting to ready, oldest first, at most so many; answers how many and in how
-- many seconds the next is due (null: nothing waits for a time). Safe when several run at once.
create function perdure.promote(at_most integer) returns table (moved integer, due_in double precision)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    batch record;
begin
    moved := 0;
    for batch in
        with due as materialized (
            select w.ctid as row_at, w.task_id,
                case w.reason when 'suspended' then 'until' when 'delay' then null when 'newer_checkpoint' then null
                    else w.reason end as because
            from perdure.waiting as w
            where w.due_at <= (select clock_timestamp()) and w.blockers = 0
            order by w.due_at limit at_most for update skip locked),
        gone as (delete from perdure.waiting where ctid = any (array(select d.row_at from due as d)) returning task_id)
        select d.because, array_agg(d.task_id order by d.task_id) as ids
        from due as d join gone as g on g.task_id = d.task_id group by d.because
    loop
        perform perdure.place(batch.ids, batch.because);
        moved := moved + cardinality(batch.ids);
    end loop;
    due_in := (
        select extract(epoch from w.due_at - clock_timestamp()) from perdure.waiting as w
        where w.due_at is not null and w.blockers = 0 order by w.due_at limit 1);
    return next;
end $$;
