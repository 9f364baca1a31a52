-- Tasks that no live worker takes: see the view.
select u.queue, u.name, u.requires, u.tasks, u.oldest, u.why from perdure.unserved_tasks as u
order by u.tasks desc, u.name, u.queue limit 100
