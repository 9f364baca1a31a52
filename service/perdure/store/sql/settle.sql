-- Settles each move of one document, in the order given (by lease and task): see the function.
select m.n, s.answer, s.letters::text
from jsonb_array_elements(%(moves)s::jsonb) with ordinality as m (move, n)
cross join lateral perdure.settle(
    (m.move ->> 'lease')::uuid, (m.move ->> 'task')::bigint, %(worker)s::bigint, m.move) as s
