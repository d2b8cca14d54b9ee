"""The demo warehouse: container orders of an invented forwarder between real stations, made by the server itself.

The rows follow from their number alone (the server's own hash of it), so that every installation has the same ones.
"""

from typing import Final

import psycopg2.extensions

from errors import WarehouseError

TABLE: Final = "audit._sales__execution_orders"

#: Railways, the busiest first, each with its stations, the busiest first.
RAILWAYS: Final = {
    "Московская": (
        "Ворсино|Селятино|Кунцево 2|Силикатная|Электроугли|Ховрино|Белый Раст|Люберцы 2|Тучково|Бекасово-Сорт.|"
        "Люблино-Сорт.|Калуга 1|Рязань 2"
    ),
    "Дальневосточная": (
        "Владивосток|Находка-Восточная|Хабаровск 2|Угловая|Первая Речка|Уссурийск|Гродеково|Ванино|"
        "Комсомольск-на-Амуре|Мыс Чуркин|Артём-Приморский 1|Беркакит|Тында"
    ),
    "Западно-Сибирская": (
        "Клещиха|Новосибирск-Восточный|Инская|Омск-Восточный|Барнаул|Новокузнецк-Восточный|Кемерово-Сорт.|"
        "Алтайская|Томск-Грузовой|Бийск|Рубцовск|Ленинск-Кузнецкий 1|Комбинатская"
    ),
    "Октябрьская": (
        "Шушары|Автово|Санкт-Петербург-Тов.-Витебский|Новый Порт|Предпортовая|Лужская|Бронка|"
        "Санкт-Петербург-Финляндский|Великий Новгород|Мурманск|Петрозаводск|Псков-Грузовой|Череповец 2"
    ),
    "Свердловская": (
        "Екатеринбург-Товарный|Кольцово|Пермь 2|Блочная|Березники-Сорт.|Тюмень|Войновка|Сургут|Нижневартовск 1|"
        "Гипсовая|Верхняя Салда|Соликамск 1"
    ),
    "Северо-Кавказская": (
        "Новороссийск|Ростов-Товарный|Краснодар-Сорт.|Батайск|Таганрог|Тимашевская 1|Грушевая|Вышестеблиевская|"
        "Минеральные Воды|Армавир 1|Невинномысская|Махачкала-Порт"
    ),
    "Горьковская": (
        "Костариха|Лагерная|Казань-Товарная|Игумново|Киров-Котласский|Ижевск|Владимир|Сейма|Зелецино|Круглое Поле|"
        "Юдино|Ковров 1|Тихоново"
    ),
    "Куйбышевская": (
        "Тольятти|Безымянка|Самара|Уфа|Черниковка-Восточная|Пенза 3|Ульяновск 3|Жигулёвское Море|Химзаводская|"
        "Новокуйбышевская|Сызрань 1|Аллагуват"
    ),
    "Красноярская": (
        "Базаиха|Красноярск-Восточный|Абакан|Ачинск 1|Канск-Енисейский|Лесосибирск|Заозёрная|Уяр|Саянская|"
        "Минусинск|Кошурниково|Решоты"
    ),
    "Восточно-Сибирская": (
        "Батарейная|Иркутск-Сорт.|Братск|Тайшет|Усть-Илимск|Лена|Улан-Удэ|Коршуниха-Ангарская|Черемхово|"
        "Китой-Комбинатская|Тельма|Наушки|Зима"
    ),
    "Южно-Уральская": (
        "Челябинск-Грузовой|Магнитогорск-Грузовой|Оренбург|Орск|Курган|Златоуст|Миасс 1|Троицк|Карталы 1|"
        "Новоотрадная|Шадринск|Копейск"
    ),
    "Забайкальская": (
        "Забайкальск|Чита 1|Благовещенск|Белогорск|Краснокаменск|Свободный|Могоча|Шилка-Товарная|Тыгда|Нерчинск|"
        "Петровский Завод|Завитая"
    ),
    "Приволжская": (
        "Саратов 2-Товарный|Волгоград 2|Астрахань 2|Трубная|Энгельс|Анисовка|Камышин|Аксарайская 2|Волжский|"
        "Татьянка|Кутум|Баскунчак"
    ),
    "Северная": (
        "Ярославль-Пристань|Сыктывкар|Архангельск-Город|Вологда 2|Котлас-Узловой|Шарья|Иваново-Сорт.|"
        "Кострома-Новая|Воркута|Ухта|Череповец|Новый Уренгой"
    ),
    "Юго-Восточная": (
        "Придача|Воронеж-Курский|Липецк|Белгород|Старый Оскол|Тамбов 1|Елец|Лиски|Стойленская|"
        "Мичуринск-Воронежский|Балашов 1|Россошь"
    ),
    "Калининградская": (
        "Дзержинская-Новая|Калининград-Сорт.|Балтийск|Черняховск|Советск|Гурьевск-Новый|Неман|Кутузово-Новое|"
        "Багратионовск|Светлый|Зеленоградск-Новый|Мамоново"
    ),
}

#: How many orders each next railway, and each next station of it, has of what the one before had.
RAILWAY_DECAY: Final = 0.76
STATION_DECAY: Final = 0.7

_ORDERS: Final = """
CREATE TABLE audit._sales__execution_orders (
    rownumber bigint PRIMARY KEY,
    "№ заказа" text NOT NULL,
    "Дата заказа" date NOT NULL,
    "SVOD.Дата отправки" timestamp NOT NULL,
    "Ст. Отправления" text NOT NULL,
    "Код ст. Отправления" integer NOT NULL,
    "Дор. Отправления" text NOT NULL,
    "Ст. Назначения" text NOT NULL,
    "Код ст. Назначения" integer NOT NULL,
    "Дор. Назначения" text NOT NULL,
    "№ контейнера" text,
    "Тип контейнера" text NOT NULL,
    "Размер, фут" integer NOT NULL,
    "№ вагона" bigint,
    "№ накладной" text,
    "Код ЕТСНГ" text,
    "Груз" text,
    "Порожний" boolean NOT NULL,
    "Масса груза, т" numeric(10,3),
    "Масса брутто, кг" integer,
    "Клиент" text NOT NULL,
    "ИНН клиента" bigint,
    "Тариф, руб." numeric(14,2) NOT NULL,
    "Ставка НДС, %" integer,
    "Сумма с НДС, руб." numeric(14,2) NOT NULL,
    "Расстояние, км" double precision NOT NULL,
    "Скорость, км/сут." double precision,
    "Дата прибытия" date,
    "Раскредитован" timestamp,
    "Оплачен" boolean,
    "Примечание" text
)"""

# Two years of orders in the order of their departure; the hashes of a row's number are its dice, 0..2^31-2.
# OFFSET 0 keeps the planner from writing each of them out, and working it out, wherever it is named.
_ROWS: Final = """
INSERT INTO audit._sales__execution_orders
WITH place AS (
    SELECT n::integer, station, railway, (200000 + n * 3701 %% 790000)::integer AS code
    FROM unnest(%(stations)s::text[], %(railways)s::text[]) WITH ORDINALITY AS p(station, railway, n)
), cargo(n, code, name) AS (VALUES
    (0, '011005', 'Пшеница'), (1, '091014', 'Лесоматериалы хвойных пород'), (2, '232103', 'Щебень гранитный'),
    (3, '303058', 'Бумага газетная'), (4, '316135', 'Прокат листовой, рулоны'), (5, '391046', 'Части автомобилей'),
    (6, '404096', 'Бытовая техника; электроника'), (7, '481079', 'Полиэтилен'), (8, '543148', 'Рыба мороженая'),
    (9, '634013', 'Мебель "в разборе"'), (10, '691033', 'Контейнеры, бывшие в употреблении'), (11, NULL, 'Сборный груз')
), client(n, name, inn) AS (VALUES
    (0, 'ООО "Северный путь"', 7701000017), (1, 'АО «Востокконтейнер»', 2540000029),
    (2, 'ООО "Уральский склад"', 6670000031), (3, 'ИП Иванова А. П.', 540100000043),
    (4, 'ООО "Лес; доска; брус"', 2460000053), (5, 'ПАО "Химволокно"', 6320000061),
    (6, 'ООО «ТК "Меридиан"»', 7805000073), (7, 'Xiamen Trade Co., Ltd', NULL),
    (8, 'ООО "Балтрыба"', 3906000089), (9, 'АО "Металлоторг"', 7450000097)
), number AS (
    SELECT i, total,
        abs(hashint8extended(i, 1) %% 2147483647) AS place_h, abs(hashint8extended(i, 2) %% 2147483647) AS goal_h,
        abs(hashint8extended(i, 3) %% 2147483647) AS cargo_h, abs(hashint8extended(i, 4) %% 2147483647) AS h,
        timestamp '2024-01-01' + interval '1 second' * ((i - 1) * 63158400.0 / total)::bigint AS departed
    FROM generate_series(1, %(rows)s::bigint) AS i, (SELECT %(rows)s::bigint) AS whole(total)
    OFFSET 0
), chosen AS (
    SELECT number.*,
        width_bucket(place_h / 2147483647.0::float8, %(shares)s::float8[]) + 1 AS start,
        width_bucket(goal_h / 2147483647.0::float8, %(shares)s::float8[]) + 1 AS goal
    FROM number
), priced AS (
    SELECT chosen.*, cargo_h %% 7 = 0 AS empty, CASE WHEN cargo_h %% 3 = 0 THEN 20 ELSE 40 END AS feet,
        400 + (goal_h * 7 + place_h) %% 8600 + cargo_h %% 10 / 10.0::float8 AS km,
        CASE WHEN h %% 10 <> 7 THEN CASE WHEN cargo_h %% 5 = 0 THEN 0 ELSE 20 END END AS vat
    FROM chosen
), money AS (
    SELECT priced.*, round((km * feet * (2 + h %% 100 / 40.0))::numeric, 2) AS tariff FROM priced OFFSET 0
)
SELECT
    i,
    format('КП-%%s-%%s', to_char(departed, 'YYYY'), lpad(i::text, 7, '0')),
    departed::date - (h %% 14)::integer,
    departed,
    start.station, start.code, start.railway,
    goal.station, goal.code, goal.railway,
    CASE WHEN h %% 97 > 0 THEN 'TKRU' || lpad((h %% 10000000)::text, 7, '0') END,
    CASE WHEN feet = 20 THEN '20DC' WHEN h %% 9 = 0 THEN '40RF' ELSE '40HC' END,
    feet,
    CASE WHEN h %% 31 > 0 THEN 54000000 + h %% 999999 + (goal_h %% 9) * 1000000 END,
    CASE WHEN h %% 53 > 0 THEN 'ЭХ' || lpad((goal_h %% 1000000)::text, 6, '0') END,
    CASE WHEN NOT empty THEN cargo.code END,
    CASE WHEN NOT empty THEN cargo.name END,
    empty,
    CASE WHEN NOT empty THEN round((feet * (30 + h %% 37) / 100.0)::numeric, 3) END,
    CASE WHEN h %% 41 > 0 THEN feet * 95 + CASE WHEN empty THEN 0 ELSE feet * (300 + (h %% 37) * 10) END END,
    client.name, client.inn,
    tariff, vat, round(tariff * (100 + coalesce(vat, 0)) / 100, 2),
    km,
    CASE WHEN h %% 11 > 0 THEN km / (2 + h %% 20) END,
    CASE WHEN i <= total * 0.98 THEN departed::date + (2 + h %% 20)::integer END,
    CASE WHEN i <= total * 0.98 AND h %% 6 > 0 THEN departed + interval '1 microsecond' * (172800000000 + h * 800) END,
    CASE WHEN h %% 23 > 0 THEN i <= total * 0.9 END,
    CASE h %% 60
        WHEN 0 THEN 'Срочно!' WHEN 1 THEN '+7 (495) 000-00-00, позвонить за час' WHEN 2 THEN '- без охраны'
        WHEN 3 THEN 'Письмо от ' || to_char(departed, 'DD.MM.YYYY') || chr(10) || 'скан приложен'
        WHEN 4 THEN '=СУММ не сходится'
    END
FROM money
JOIN place AS start ON start.n = money.start
JOIN place AS goal ON goal.n = money.goal
JOIN cargo ON cargo.n = cargo_h %% 12
JOIN client ON client.n = h %% 10
ORDER BY i"""

_INSPECTORS_ROW: Final = """
INSERT INTO dwh_tables_info (dwh_table_name, table_info, timestamp, wants_to_refresh, wants_to_refresh_timestamp,
    gives_information, gives_information_timestamp)
SELECT %(table)s, json_build_object('rows_qty', count(*), 'min_date', min("SVOD.Дата отправки")::date,
    'max_date', max("SVOD.Дата отправки")::date,
    'railway_names', string_agg(DISTINCT "Дор. Отправления", '|'),
    'station_names', string_agg(DISTINCT "Ст. Отправления", '|')),
    localtimestamp, false, localtimestamp, false, localtimestamp
FROM audit._sales__execution_orders
ON CONFLICT (dwh_table_name) DO UPDATE SET table_info = excluded.table_info, timestamp = excluded.timestamp"""

_DEMO_USER: Final = """
INSERT INTO "user" (id, username, email) VALUES (1, 'demo', 'demo@example.com') ON CONFLICT DO NOTHING"""


def create(connection: psycopg2.extensions.connection, rows: int = 300_000) -> None:
    """Make the table of orders, the Inspector's row about it and the demo user, in one transaction.

    Where the demo table of as many rows is already there, nothing is done. The tables `"user"` and
    `dwh_tables_info` must be there.

    Args:
        connection: one to the embedded PostgreSQL, outside a transaction.
        rows: how many orders, dated over two years.

    Raises:
        WarehouseError: there is a table of that name that is not the demo's.
    """
    mark = f"Демонстрационные данные tksva_q, строк: {rows}"
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (TABLE,))
        cursor.execute("SELECT obj_description(oid) FROM pg_class WHERE oid = to_regclass(%s)", (TABLE,))
        found = cursor.fetchone()
        if found == (mark,):
            return
        if found and not str(found[0]).startswith(mark.rpartition(" ")[0]):
            raise WarehouseError(f"таблица {TABLE} уже есть, и в ней не демонстрационные данные: она не тронута")
        cursor.execute("CREATE SCHEMA IF NOT EXISTS audit; DROP TABLE IF EXISTS audit._sales__execution_orders")
        cursor.execute(_ORDERS)
        cursor.execute("COMMENT ON TABLE audit._sales__execution_orders IS %s", (mark,))
        cursor.execute(_ROWS, _stations() | {"rows": rows})
        cursor.execute("ANALYZE audit._sales__execution_orders")
        cursor.execute(_INSPECTORS_ROW, {"table": TABLE})
        cursor.execute(_DEMO_USER)


def _stations() -> dict[str, list[str] | list[float]]:
    """Return the stations, the railway of each, and the running sum of their shares without the last (which is 1)."""
    stations: list[str] = []
    railways: list[str] = []
    weights: list[float] = []
    for place, (railway, names) in enumerate(RAILWAYS.items()):
        own = [STATION_DECAY**rank for rank in range(names.count("|") + 1)]
        stations += names.split("|")
        railways += [railway] * len(own)
        weights += [RAILWAY_DECAY**place * weight / sum(own) for weight in own]
    shares = [sum(weights[: end + 1]) / sum(weights) for end in range(len(weights) - 1)]
    return {"stations": stations, "railways": railways, "shares": shares}
