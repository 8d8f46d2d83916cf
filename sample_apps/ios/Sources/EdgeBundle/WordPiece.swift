import Foundation

/// A `tokenizer.json` of BERT's kind: its normalizer, its words, WordPiece, and the tokens around a text or a pair.
public struct WordPiece {
    /// A token id with its type, or where `id` is nil the text number `sequence`.
    struct Piece {
        let id: Int?
        let sequence: Int
        let type: Int
    }

    struct Encoding {
        var ids: [Int] = []
        var types: [Int] = []
    }

    struct Added {
        let content: [Unicode.Scalar]
        let id: Int
    }

    private let normalizer: BertNormalizer
    private let vocabulary: [[Unicode.Scalar]: Int]
    private let unknown: Int
    private let prefix: [Unicode.Scalar]
    private let longestWord: Int
    private let added: [Added]
    private let single: [Piece]
    private let pair: [Piece]

    /// Throws `BundleError` where the tokenizer is of another kind.
    public init(parsing data: Data) throws {
        let file = try Fields.parse(data, "tokenizer.json")
        let model = try file.fields("model")
        try Self.expect(model, "WordPiece", "model")
        try Self.expect(file.fields("pre_tokenizer"), "BertPreTokenizer", "pre_tokenizer")
        let processor = try file.fields("post_processor")
        let word = try model.string("unk_token")
        vocabulary = try model.fields("vocab").integersByScalars()
        guard let found = vocabulary[Array(word.unicodeScalars)] else {
            throw BundleError("tokenizer.json: \(word) is not in its vocabulary")
        }
        unknown = found
        normalizer = try Self.normalizer(file.fields("normalizer"))
        prefix = Array(try model.string("continuing_subword_prefix").unicodeScalars)
        longestWord = try model.int("max_input_chars_per_word")
        added = try file.objects("added_tokens").map(Self.addedToken)
        single = try Self.template(processor, "single")
        pair = try Self.template(processor, "pair")
    }

    /// Ids of one text, without the tokens around it.
    func tokens(_ text: String) -> [Int] {
        var found: [Int] = []
        var rest = ArraySlice(text.unicodeScalars)
        while !rest.isEmpty {
            // An added token such as [SEP] is one wherever it stands; of several that begin there, the longest.
            let hit = firstAdded(rest)
            let before = hit.map { rest[rest.startIndex..<$0.start] } ?? rest
            for word in BertNormalizer.split(normalizer.normalize(Array(before))) { found += pieces(word) }
            guard let hit else { break }
            found.append(hit.token.id)
            rest = rest[(hit.start + hit.token.content.count)...]
        }
        return found
    }

    /// Cut to `maxLength`, of two texts the longer one first, with the tokens around them.
    func encode(_ texts: [String], maxLength: Int, cutLeft: Bool) throws -> Encoding {
        let template = texts.count == 2 ? pair : single
        let room = maxLength - template.filter { $0.id != nil }.count
        guard room > 0 else {
            throw BundleError("the tokenizer's own tokens leave no room in a max_length of \(maxLength)")
        }
        let sequences = Self.cut(texts.map(tokens), room, cutLeft)
        var encoding = Encoding()
        for piece in template {
            let these = piece.id.map { [$0] } ?? sequences[piece.sequence]
            encoding.ids += these
            encoding.types += these.map { _ in piece.type }
        }
        return encoding
    }

    private func firstAdded(_ text: ArraySlice<Unicode.Scalar>) -> (start: Int, token: Added)? {
        for start in text.indices {
            let here = added.filter { text[start...].starts(with: $0.content) }
            if let longest = here.max(by: { $0.content.count < $1.content.count }) { return (start, longest) }
        }
        return nil
    }

    private func pieces(_ word: [Unicode.Scalar]) -> [Int] {
        if word.count > longestWord { return [unknown] }
        var found: [Int] = []
        var start = 0
        while start < word.count {
            var end = word.count
            var id: Int?
            while end > start {
                let part = Array(word[start..<end])
                id = vocabulary[start > 0 ? prefix + part : part]
                if id != nil { break }
                end -= 1
            }
            guard let id else { return [unknown] }
            found.append(id)
            start = end
        }
        return found
    }

    private static func cut(_ sequences: [[Int]], _ room: Int, _ left: Bool) -> [[Int]] {
        if sequences.map(\.count).reduce(0, +) <= room { return sequences }
        let keep = sequences.count == 1 ? [room] : shares(sequences[0].count, sequences[1].count, room)
        return zip(sequences, keep).map { ids, count in Array(left ? ids.suffix(count) : ids.prefix(count)) }
    }

    /// How much of two sequences stays; the library's "longest first".
    private static func shares(_ first: Int, _ second: Int, _ room: Int) -> [Int] {
        var shorter = min(first, second)
        var longer = shorter > room ? shorter : max(shorter, room - shorter)
        if shorter + longer > room {
            shorter = room / 2
            longer = shorter + room % 2
        }
        return first > second ? [longer, shorter] : [shorter, longer]
    }

    private static func normalizer(_ fields: Fields) throws -> BertNormalizer {
        try expect(fields, "BertNormalizer", "normalizer")
        let lowercase = try fields.flag("lowercase")
        return try BertNormalizer(
            clean: fields.flag("clean_text"),
            spaceIdeographs: fields.flag("handle_chinese_chars"),
            stripAccents: fields.isNull("strip_accents") ? lowercase : fields.flag("strip_accents"),
            lowercase: lowercase
        )
    }

    private static func addedToken(_ fields: Fields) throws -> Added {
        let content = try fields.string("content")
        for flag in ["normalized", "single_word", "lstrip", "rstrip"] {
            if try fields.flag(flag) { throw BundleError("tokenizer.json: \(content) is \(flag), which this app has not") }
        }
        return Added(content: Array(content.unicodeScalars), id: try fields.int("id"))
    }

    private static func template(_ processor: Fields, _ name: String) throws -> [Piece] {
        if try processor.string("type") == "BertProcessing" {
            let ids = try ["cls", "sep"].map { part -> Int in
                guard let pair = processor.raw(part) as? [Any], let id = pair.last as? Int else {
                    throw BundleError("tokenizer.json: its post_processor is malformed")
                }
                return id
            }
            let before = Piece(id: ids[0], sequence: 0, type: 0)
            let start = [before, Piece(id: nil, sequence: 0, type: 0), Piece(id: ids[1], sequence: 0, type: 0)]
            let second = [Piece(id: nil, sequence: 1, type: 1), Piece(id: ids[1], sequence: 0, type: 1)]
            return name == "single" ? start : start + second
        }
        try expect(processor, "TemplateProcessing", "post_processor")
        let special = try processor.fields("special_tokens")
        return try processor.objects(name).flatMap { piece -> [Piece] in
            if piece.names.contains("Sequence") {
                let sequence = try piece.fields("Sequence")
                return try [Piece(id: nil, sequence: sequence.string("id") == "B" ? 1 : 0, type: sequence.int("type_id"))]
            }
            let token = try piece.fields("SpecialToken")
            let type = try token.int("type_id")
            return try special.fields(token.string("id")).ints("ids").map { Piece(id: $0, sequence: 0, type: type) }
        }
    }

    private static func expect(_ fields: Fields, _ kind: String, _ part: String) throws {
        let found = try fields.string("type")
        guard found == kind else {
            throw BundleError("tokenizer.json: its \(part) is \(found), this app has only \(kind)")
        }
    }
}
