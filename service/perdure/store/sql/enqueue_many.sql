-- Enqueues a document of tasks in one statement and one admission: see the function.
select e.position, e.task_id, e.answer from perdure.enqueue_many(%(tasks)s::jsonb) as e
