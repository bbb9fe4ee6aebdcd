-- The one spelling of a name, as `opslog/identities.py` has it: for rows that are written by SQL.

-- Full case folding of decomposed text, as ranges of code points (Unicode 14): from, to, every how
-- many, and how far. `lower()` depends on the collation, and folds less. A test compares all of
-- Unicode with Python's.
CREATE OR REPLACE FUNCTION tollgate.folded(decomposed text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        CASE WHEN c.point IN (223, 7838) THEN 'ss' ELSE chr(c.point + coalesce(r.far, 0)) END, '' ORDER BY c.place), '')
    FROM (SELECT ascii(letter) AS point, place
          FROM regexp_split_to_table(lower(decomposed COLLATE "C"), '') WITH ORDINALITY AS s (letter, place)
          WHERE letter <> '') c
    LEFT JOIN (VALUES
            (198, 198, 1, 32), (208, 208, 1, 32), (216, 216, 1, 32), (222, 222, 1, 32), (272, 272,
            1, 1), (294, 294, 1, 1), (321, 321, 1, 1), (330, 330, 1, 1), (338, 338, 1, 1), (358,
            358, 1, 1), (385, 385, 1, 210), (386, 388, 2, 1), (390, 390, 1, 206), (391, 391, 1, 1),
            (393, 394, 1, 205), (395, 395, 1, 1), (398, 398, 1, 79), (399, 399, 1, 202), (400, 400,
            1, 203), (401, 401, 1, 1), (403, 403, 1, 205), (404, 404, 1, 207), (406, 406, 1, 211),
            (407, 407, 1, 209), (408, 408, 1, 1), (412, 412, 1, 211), (413, 413, 1, 213), (415, 415,
            1, 214), (418, 420, 2, 1), (422, 422, 1, 218), (423, 423, 1, 1), (425, 425, 1, 218),
            (428, 428, 1, 1), (430, 430, 1, 218), (433, 434, 1, 217), (435, 437, 2, 1), (439, 439,
            1, 219), (440, 440, 1, 1), (444, 444, 1, 1), (484, 484, 1, 1), (502, 502, 1, -97), (503,
            503, 1, -56), (540, 540, 1, 1), (544, 544, 1, -130), (546, 548, 2, 1), (570, 570, 1,
            10795), (571, 571, 1, 1), (573, 573, 1, -163), (574, 574, 1, 10792), (577, 577, 1, 1),
            (579, 579, 1, -195), (580, 580, 1, 69), (581, 581, 1, 71), (582, 590, 2, 1), (837, 837,
            1, 116), (880, 882, 2, 1), (886, 886, 1, 1), (895, 895, 1, 116), (913, 929, 1, 32),
            (931, 937, 1, 32), (962, 962, 1, 1), (975, 975, 1, 8), (984, 1006, 2, 1), (1015, 1015,
            1, 1), (1018, 1018, 1, 1), (1021, 1023, 1, -130), (1026, 1028, 2, 80), (1029, 1030, 1,
            80), (1032, 1035, 1, 80), (1039, 1039, 1, 80), (1040, 1048, 1, 32), (1050, 1071, 1, 32),
            (1120, 1140, 2, 1), (1144, 1152, 2, 1), (1162, 1214, 2, 1), (1216, 1216, 1, 15), (1219,
            1229, 2, 1), (1236, 1236, 1, 1), (1240, 1240, 1, 1), (1248, 1248, 1, 1), (1256, 1256, 1,
            1), (1270, 1270, 1, 1), (1274, 1326, 2, 1), (1329, 1366, 1, 48), (4256, 4293, 1, 7264),
            (4295, 4295, 1, 7264), (4301, 4301, 1, 7264), (5112, 5117, 1, -8), (7296, 7296, 1,
            -6222), (7297, 7297, 1, -6221), (7298, 7298, 1, -6212), (7299, 7300, 1, -6210), (7301,
            7301, 1, -6211), (7302, 7302, 1, -6204), (7303, 7303, 1, -6180), (7304, 7304, 1, 35267),
            (7312, 7354, 1, -3008), (7357, 7359, 1, -3008), (7930, 7934, 2, 1), (8498, 8498, 1, 28),
            (8579, 8579, 1, 1), (11264, 11311, 1, 48), (11360, 11360, 1, 1), (11362, 11362, 1,
            -10743), (11363, 11363, 1, -3814), (11364, 11364, 1, -10727), (11367, 11371, 2, 1),
            (11373, 11373, 1, -10780), (11374, 11374, 1, -10749), (11375, 11375, 1, -10783), (11376,
            11376, 1, -10782), (11378, 11378, 1, 1), (11381, 11381, 1, 1), (11390, 11391, 1,
            -10815), (11392, 11490, 2, 1), (11499, 11501, 2, 1), (11506, 11506, 1, 1), (42560,
            42604, 2, 1), (42624, 42650, 2, 1), (42786, 42798, 2, 1), (42802, 42862, 2, 1), (42873,
            42875, 2, 1), (42877, 42877, 1, -35332), (42878, 42886, 2, 1), (42891, 42891, 1, 1),
            (42893, 42893, 1, -42280), (42896, 42898, 2, 1), (42902, 42920, 2, 1), (42922, 42922, 1,
            -42308), (42923, 42923, 1, -42319), (42924, 42924, 1, -42315), (42925, 42925, 1,
            -42305), (42926, 42926, 1, -42308), (42928, 42928, 1, -42258), (42929, 42929, 1,
            -42282), (42930, 42930, 1, -42261), (42931, 42931, 1, 928), (42932, 42946, 2, 1),
            (42948, 42948, 1, -48), (42949, 42949, 1, -42307), (42950, 42950, 1, -35384), (42951,
            42953, 2, 1), (42960, 42960, 1, 1), (42966, 42968, 2, 1), (42997, 42997, 1, 1), (43888,
            43967, 1, -38864), (66560, 66599, 1, 40), (66736, 66771, 1, 40), (66928, 66938, 1, 39),
            (66940, 66954, 1, 39), (66956, 66962, 1, 39), (66964, 66965, 1, 39), (68736, 68786, 1,
            64), (71840, 71871, 1, 32), (93760, 93791, 1, 32), (125184, 125217, 1, 34)
        ) AS r (first, last, step, far)
        ON c.point BETWEEN r.first AND r.last AND (c.point - r.first) % r.step = 0
$$;

CREATE OR REPLACE FUNCTION tollgate.identity(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT btrim(regexp_replace(
        CASE WHEN octet_length(name) = char_length(name) THEN lower(name COLLATE "C")
            ELSE normalize(tollgate.folded(regexp_replace(normalize(name, NFKD),
                '[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
                '', 'g')), NFKC) END,
        '[\u0001-\u0020\u007f-\u00a0\u1680\u2028\u2029]+', ' ', 'g'))
$$;

-- A model's name as it says it itself: `bare` in `opslog/pricing/model_names.py`. What the price book knows
-- besides is not known here; a job puts that right (`budgets.controls.limits.follow_price_book`).
CREATE OR REPLACE FUNCTION tollgate.model_name(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    known text := tollgate.identity(name);
    tuned text := CASE WHEN known LIKE 'ft:%' THEN 'ft:' ELSE '' END;
    part text;
BEGIN
    known := substr(known, length(tuned) + 1);
    FOREACH part IN ARRAY ARRAY[
        '^.*/',
        '^(anthropic|aws|azure|bedrock|cohere|deepseek|gemini|google|groq|mistral|openai|openrouter|together|vertex_ai|x-ai|xai):',
        '^(us|us-gov|eu|apac|jp|au|ca|global|regional)\.(?=[a-z0-9-]+\.)',
        '^(ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|stability|twelvelabs|writer|zai)\.',
        '-v[0-9]+:[0-9]+(:[a-z0-9]+)?$',
        '(:([0-9]+|free|batch|extended|thinking|nitro|floor|online|exacto|beta)|@[a-z0-9.-]+)$',
        '-(20[0-9]{2}-[01][0-9]-[0-3][0-9]|20[0-9]{2}[01][0-9][0-3][0-9]|(0[1-9]|1[0-2])([0-2][0-9]|3[01])|2[3-9](0[1-9]|1[0-2])|latest)$'
    ] LOOP
        known := coalesce(nullif(regexp_replace(known, part, ''), ''), known);
    END LOOP;
    RETURN tuned || known;
END $$;

-- The columns that the trigger names are stored in their one spelling, whoever writes them.
CREATE OR REPLACE FUNCTION tollgate.canonical_names() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written jsonb := to_jsonb(NEW);
    names text;
BEGIN
    FOREACH names IN ARRAY TG_ARGV LOOP
        IF written->>names <> tollgate.identity(written->>names) THEN
            NEW := jsonb_populate_record(NEW, jsonb_build_object(names, tollgate.identity(written->>names)));
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT ON public.change_markers
    FOR EACH ROW EXECUTE FUNCTION tollgate.canonical_names('feature');
