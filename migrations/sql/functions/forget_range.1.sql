-- Removes what side tables know of the tasks of a range that is dropped; those in kept_ids stay.
create function perdure.forget_range(number bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    first_id bigint := number * 100000000;
    last_id bigint := first_id + 99999999;
begin
    delete from perdure.attempts where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.progress where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.alarms where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.inputs where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.mail where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.instances where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.audit where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
    delete from perdure.unique_keys where task_id between first_id and last_id and task_id not in (select id from pg_temp.kept_ids);
end $$;
