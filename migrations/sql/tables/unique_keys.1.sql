-- The latest task of each key, and the request that made it. A key is held while that task has no outcome:
-- read, never freed.
create table perdure.unique_keys (
    key text collate "C" primary key,
    task_id bigint not null,
    request_id uuid
) with (fillfactor = 80);
