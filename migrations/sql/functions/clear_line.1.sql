-- Cancels all that wait in the line of a unique key, whose last is given; the one that runs is told to
-- stop, and is the answer. All are locked first; then the last is cancelled first, so that none is let go
-- by the end of the one before it.
create function perdure.clear_line(last bigint) returns bigint[]
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    running bigint[] := '{}';
    member record;
begin
    for member in select l.task_id, l.place = 'lease' as leased from perdure.lock_line(array[last]) as l order by 1 desc loop
        if perdure.withdraw(member.task_id, 'replaced', member.leased) = 'requested' then
            running := running || member.task_id;
        end if;
    end loop;
    return running;
end $$;
