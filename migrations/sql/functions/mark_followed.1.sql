-- Lets the end of a task release those that wait for it at once. A letter says so to whoever runs or ends
-- it, or to promotion if it has ended meanwhile. Where nobody else can have taken it yet, a mark says it: its
-- run ends by settle. Locks nothing, so that no open transaction of a producer holds a parent up.
create function perdure.mark_followed(task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if perdure.placed_here(task) then
        insert into perdure.progress as p (task_id, marks) values (task, 8)
        on conflict (task_id) do update set marks = p.marks | 8 where p.marks & 8 = 0;
    else
        insert into perdure.mail (task_id, kind) values (task, 'follower');
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
end $$;
