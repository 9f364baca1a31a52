-- The latest task of each key, the request that made it, and its answer, null for created. A key is held
-- while that task has no outcome: read, never freed.
create table perdure.unique_keys (
    key text collate "C" primary key,
    task_id bigint not null,
    request_id uuid,
    answer text
) with (fillfactor = 80);
