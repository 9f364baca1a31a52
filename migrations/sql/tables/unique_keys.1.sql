-- The latest task of each key, the request that made or changed it, and the answer to that, null for created.
-- A key is held while that task has no outcome, and for held_for after its end: read, never freed.
create table perdure.unique_keys (
    key text collate "C" primary key,
    task_id bigint not null,
    request_id uuid,
    answer text,
    held_for interval
) with (fillfactor = 80);
