import Foundation

/// A sentence that says what is wrong with a bundle or an input, and where.
public struct BundleError: LocalizedError {
    public let message: String

    public init(_ message: String) {
        self.message = message
    }

    public var errorDescription: String? { message }
}

/// A JSON object with the types that its reader expects; the message names what is missing.
///
/// It stays an `NSDictionary`: a Swift dictionary would take two words of a vocabulary for one where Unicode calls them
/// equivalent.
public struct Fields {
    private let values: NSDictionary
    private let place: String

    public init(_ values: NSDictionary, _ place: String) {
        self.values = values
        self.place = place
    }

    public static func parse(_ data: Data, _ place: String) throws -> Fields {
        guard let values = try? JSONSerialization.jsonObject(with: data) as? NSDictionary else {
            throw BundleError("\(place) holds no JSON object")
        }
        return Fields(values, place)
    }

    public func isNull(_ name: String) -> Bool { values[name] == nil || values[name] is NSNull }

    public func string(_ name: String) throws -> String { try typed(name) }

    public func flag(_ name: String) throws -> Bool { try typed(name) }

    public func number(_ name: String) throws -> Double { try (typed(name) as NSNumber).doubleValue }

    public func int(_ name: String) throws -> Int {
        guard let whole = Int(exactly: try number(name)) else { throw wrong(name) }
        return whole
    }

    public func fields(_ name: String) throws -> Fields { Fields(try typed(name), "\(place), \(name)") }

    public func objects(_ name: String) throws -> [Fields] {
        try (typed(name) as [NSDictionary]).map { Fields($0, "\(place), \(name)") }
    }

    public func strings(_ name: String) throws -> [String] { try typed(name) }

    public func numbers(_ name: String) throws -> [Double] { try (typed(name) as [NSNumber]).map(\.doubleValue) }

    public func ints(_ name: String) throws -> [Int] { try (typed(name) as [NSNumber]).map(\.intValue) }

    public func raw(_ name: String) -> Any? { values[name] }

    /// Every name as Unicode scalars, with its integer.
    public func integersByScalars() throws -> [[Unicode.Scalar]: Int] {
        var found: [[Unicode.Scalar]: Int] = [:]
        for (name, value) in values {
            guard let name = name as? NSString, let value = value as? NSNumber else { throw BundleError("\(place) is malformed") }
            found[Array((name as String).unicodeScalars)] = value.intValue
        }
        return found
    }

    public var names: [String] { values.allKeys.compactMap { $0 as? String } }

    private func typed<T>(_ name: String) throws -> T {
        guard let value = values[name] as? T else { throw wrong(name) }
        return value
    }

    private func wrong(_ name: String) -> BundleError {
        guard let value = values[name] else { return BundleError("\(place): '\(name)' is missing") }
        return BundleError("\(place): '\(name)' is not what this app reads: " + String("\(value)".prefix(100)))
    }
}
