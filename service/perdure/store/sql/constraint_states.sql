-- Every constraint that somebody requires, declares or satisfies: see the view.
select c.name, c.declared, c.changed_at, c.workers, c.ready from perdure.constraint_states as c order by c.name
