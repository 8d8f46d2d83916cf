import Foundation

/// Cleans a text and splits it into words, as the `tokenizers` library's BertNormalizer and BertPreTokenizer do.
///
/// Texts are arrays of scalars throughout: Swift's strings compare by equivalence and count by what a reader sees.
struct BertNormalizer {
    let clean: Bool
    let spaceIdeographs: Bool
    let stripAccents: Bool
    let lowercase: Bool

    private static let space: Unicode.Scalar = " "

    func normalize(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var points = text
        if clean {
            points = points.filter { !Ranges.removed.contains($0) }.map { Ranges.blank.contains($0) ? Self.space : $0 }
        }
        if spaceIdeographs {
            points = points.flatMap { Ranges.ideograph.contains($0) ? [Self.space, $0, Self.space] : [$0] }
        }
        if stripAccents {
            let decomposed = Self.string(points).decomposedStringWithCanonicalMapping
            points = decomposed.unicodeScalars.filter { !Ranges.mark.contains($0) }
        }
        if lowercase {
            points = points.flatMap { Array($0.properties.lowercaseMapping.unicodeScalars) }
        }
        return points
    }

    /// Words between spaces; punctuation marks are words of their own.
    static func split(_ text: [Unicode.Scalar]) -> [[Unicode.Scalar]] {
        var words: [[Unicode.Scalar]] = []
        var word: [Unicode.Scalar] = []
        func end() {
            if !word.isEmpty { words.append(word) }
            word = []
        }
        for point in text {
            if Ranges.space.contains(point) {
                end()
            } else if Ranges.punctuation.contains(point) {
                end()
                words.append([point])
            } else {
                word.append(point)
            }
        }
        end()
        return words
    }

    static func string(_ points: [Unicode.Scalar]) -> String {
        var made = String.UnicodeScalarView()
        made.append(contentsOf: points)
        return String(made)
    }
}

/// A set of code points: pairs of first and last, ascending.
struct Ranges {
    let pairs: [UInt32]

    static let removed = Ranges(pairs: BertCharacters.removed)
    static let blank = Ranges(pairs: BertCharacters.blank)
    static let ideograph = Ranges(pairs: BertCharacters.ideograph)
    static let mark = Ranges(pairs: BertCharacters.mark)
    static let space = Ranges(pairs: BertCharacters.space)
    static let punctuation = Ranges(pairs: BertCharacters.punctuation)

    func contains(_ point: Unicode.Scalar) -> Bool {
        var low = 0
        var high = pairs.count / 2 - 1
        while low <= high {
            let middle = (low + high) / 2
            if point.value < pairs[2 * middle] {
                high = middle - 1
            } else if point.value > pairs[2 * middle + 1] {
                low = middle + 1
            } else {
                return true
            }
        }
        return false
    }
}
