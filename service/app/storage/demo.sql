-- An invented clinic's catalogue, for demonstrations (DEMO_CATALOG=true). Leaves what is there as it is.
-- The free slots are made in database.py, because the clinic's clock is known there.
insert into answers (topic, language, answer) values
    ('hours',     'pt', 'Atendemos de segunda a sexta, das 8h às 18h.'),
    ('hours',     'es', 'Atendemos de lunes a viernes, de 8 a 18 h.'),
    ('hours',     'en', 'We are open Monday to Friday, 8 am to 6 pm.'),
    ('address',   'pt', 'Estamos na Rua das Flores, 100. Há estacionamento no local.'),
    ('address',   'es', 'Estamos en la calle Flores 100. Hay estacionamiento.'),
    ('address',   'en', 'We are at 100 Flores Street. There is parking on site.'),
    ('insurance', 'pt', 'Aceitamos os principais convênios.'),
    ('insurance', 'es', 'Aceptamos los principales seguros.'),
    ('insurance', 'en', 'We accept the main insurance plans.')
on conflict do nothing;
insert into prices (service, language, amount) values
    ('consultation', 'pt', 'A consulta custa R$ 250.'),
    ('consultation', 'es', 'La consulta cuesta R$ 250.'),
    ('consultation', 'en', 'A consultation costs R$ 250.')
on conflict do nothing;
