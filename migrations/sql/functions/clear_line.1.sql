-- Cancels all that wait in the line of a unique key, whose last is given; the one that runs is told to
-- stop, and is the answer. All are locked in id order first; then the last is cancelled first, so that
-- none is let go by the end of the one before it.
create function perdure.clear_line(last bigint) returns bigint[]
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    line constant bigint[] := array(
        with recursive line (id) as (
            select last
            union
            select e.after_id from line as l join perdure.edges as e on e.task_id = l.id where e.kind <> 'after')
        select l.id from line as l order by l.id);
    running bigint[] := '{}';
    member bigint;
begin
    foreach member in array line loop
        perform perdure.locate(member);
    end loop;
    for member in select i from unnest(line) as i order by i desc loop
        if perdure.withdraw(member, 'replaced') = 'requested' then
            running := running || member;
        end if;
    end loop;
    return running;
end $$;
