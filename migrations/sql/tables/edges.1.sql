-- "task_id waits until after_id has ended", while it does. rule run starts it after any end; fail and
-- cancel only after a success, else it ends so. kind: after (a chain), serial (append), replaces; a task of its
-- line that it follows in a chain, too, has the kind of the line and the rule of the chain.
create table perdure.edges (
    task_id bigint not null,
    after_id bigint not null,
    rule text collate "C" not null default 'run',
    kind text collate "C" not null default 'after',
    primary key (task_id, after_id)
);
-- Not (after_id, task_id): a plan made while the table was empty might read it through for a task_id.
create index edges_after on perdure.edges (after_id);
