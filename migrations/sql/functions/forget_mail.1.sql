-- Removes the mail of a task that has ended; a signal that came too late is kept for its history.
create function perdure.forget_mail(task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    with gone as (delete from perdure.mail where task_id = task returning id, kind, body, posted_at, posted_by)
    insert into perdure.audit (at, actor, action, task_id, details)
    select posted_at, posted_by, 'signal_unused', task, body from gone where kind = 'proceed' order by id;
end $$;
