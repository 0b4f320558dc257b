// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The list of storage nodes and who owns them.
/// @notice A node registers its Ed25519 public key and how to reach it. `nodeId` is keccak256(publicKey). One active
/// node per owner. The EVM cannot check an Ed25519 signature cheaply, so a row is a claim. The node signs a statement
/// of it with that key (`/info`, its hash is the row's metadataHash); whoever relies on the owner has to check it.
contract VaultRegistry {
    uint256 public constant PUBLIC_KEY_BYTES = 32;
    uint256 public constant MAX_URL_BYTES = 256;
    uint256 public constant MAX_VERSION_BYTES = 32;

    struct Node {
        address owner;
        bytes publicKey;
        string url;
        bytes32 metadataHash;
        uint256 registeredAt;
        bool active;
    }

    event NodeRegistered(bytes32 indexed nodeId, address indexed owner);
    event NodeUpdated(bytes32 indexed nodeId);
    event NodeUnregistered(bytes32 indexed nodeId);
    event MinVersionUpdated(string version);

    /// The caller already has an active node; unregister it first.
    error OwnerAlreadyRegistered(address owner, bytes32 nodeId);
    /// The key belongs to another owner, now or earlier; history is never handed over.
    error PublicKeyTaken(bytes32 nodeId);
    /// The key is not a raw Ed25519 public key of 32 bytes.
    error InvalidPublicKeyLength(uint256 lengthBytes);
    error EmptyUrl();
    error UrlTooLong(uint256 lengthBytes, uint256 maxBytes);
    /// The caller has no active node.
    error OwnerNotRegistered(address owner);
    error NodeNotFound(bytes32 nodeId);
    /// Only the contract's owner, its deployer, may do this.
    error NotContractOwner(address caller);
    error InvalidVersionLength(uint256 lengthBytes, uint256 maxBytes);

    /// Who may set the minimum version: the deployer.
    address public immutable owner;
    /// Nodes older than this version should upgrade. "0.0.0" until set.
    string public minVersion = "0.0.0";

    mapping(bytes32 nodeId => Node) private _nodes;
    mapping(address owner => bytes32 nodeId) private _nodeIdByOwner;
    /// Every id ever registered, in order of first registration.
    bytes32[] private _allIds;
    bytes32[] private _activeIds;
    /// Place in `_activeIds` plus one; zero means not active.
    mapping(bytes32 nodeId => uint256 place) private _activePlace;

    constructor() {
        owner = msg.sender;
    }

    // ── writes ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Registers the caller's node. An owner who unregistered may come back, with the same key (the old row
    /// becomes active again, `registeredAt` is the new time) or with a new one.
    /// @param publicKey raw Ed25519 public key, 32 bytes
    /// @param url where the node is, `/p2p/<peerId>`, 1 to 256 bytes
    /// @param metadataHash hash of what else the node says of itself; zero for nothing
    /// @return nodeId keccak256(publicKey)
    function registerNode(bytes calldata publicKey, string calldata url, bytes32 metadataHash)
        external
        returns (bytes32 nodeId)
    {
        if (publicKey.length != PUBLIC_KEY_BYTES) revert InvalidPublicKeyLength(publicKey.length);
        _requireUrl(url);
        bytes32 current = _nodeIdByOwner[msg.sender];
        if (_activePlace[current] != 0) revert OwnerAlreadyRegistered(msg.sender, current);

        nodeId = keccak256(publicKey);
        Node storage node = _nodes[nodeId];
        if (node.owner == address(0)) {
            node.owner = msg.sender;
            node.publicKey = publicKey;
            _allIds.push(nodeId);
        } else if (node.owner != msg.sender) {
            revert PublicKeyTaken(nodeId);
        }
        node.url = url;
        node.metadataHash = metadataHash;
        node.registeredAt = block.timestamp;
        node.active = true;
        _nodeIdByOwner[msg.sender] = nodeId;
        _activeIds.push(nodeId);
        _activePlace[nodeId] = _activeIds.length;
        emit NodeRegistered(nodeId, msg.sender);
    }

    /// @notice Changes the address and metadata of the caller's active node.
    function updateNode(string calldata url, bytes32 metadataHash) external {
        bytes32 nodeId = _requireActiveNodeOfCaller();
        _requireUrl(url);
        Node storage node = _nodes[nodeId];
        node.url = url;
        node.metadataHash = metadataHash;
        emit NodeUpdated(nodeId);
    }

    /// @notice Takes the caller's node out of service. Its row stays, with active = false.
    function unregisterNode() external {
        bytes32 nodeId = _requireActiveNodeOfCaller();
        _nodes[nodeId].active = false;
        // The last id moves into the gap, so that the cost does not grow with the number of nodes.
        uint256 place = _activePlace[nodeId];
        bytes32 lastId = _activeIds[_activeIds.length - 1];
        _activeIds[place - 1] = lastId;
        _activePlace[lastId] = place;
        _activeIds.pop();
        delete _activePlace[nodeId];
        emit NodeUnregistered(nodeId);
    }

    /// @notice Sets the version below which nodes should upgrade; 1 to 32 bytes. Contract owner only.
    function setMinVersion(string calldata version) external {
        if (msg.sender != owner) revert NotContractOwner(msg.sender);
        uint256 lengthBytes = bytes(version).length;
        if (lengthBytes == 0 || lengthBytes > MAX_VERSION_BYTES) {
            revert InvalidVersionLength(lengthBytes, MAX_VERSION_BYTES);
        }
        minVersion = version;
        emit MinVersionUpdated(version);
    }

    // ── reads ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice One node's row, active or not. Reverts with NodeNotFound for an id never registered.
    function getNode(bytes32 nodeId)
        external
        view
        returns (
            address nodeOwner,
            bytes memory publicKey,
            string memory url,
            bytes32 metadataHash,
            uint256 registeredAt,
            bool active
        )
    {
        Node storage node = _requireNode(nodeId);
        return (node.owner, node.publicKey, node.url, node.metadataHash, node.registeredAt, node.active);
    }

    /// @notice Many rows in one call, in the order asked. Reverts with NodeNotFound if one id was never registered.
    function getNodes(bytes32[] calldata nodeIds) external view returns (Node[] memory nodes) {
        nodes = new Node[](nodeIds.length);
        for (uint256 i = 0; i < nodeIds.length; i++) {
            nodes[i] = _requireNode(nodeIds[i]);
        }
    }

    /// @notice Ids ever registered, oldest first, from `offset` on, `limit` at most; empty past the end.
    function getAllNodes(uint256 offset, uint256 limit) external view returns (bytes32[] memory nodeIds) {
        uint256 total = _allIds.length;
        if (offset >= total) return new bytes32[](0);
        uint256 count = total - offset;
        if (limit < count) count = limit;
        nodeIds = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) {
            nodeIds[i] = _allIds[offset + i];
        }
    }

    /// @notice Ids of the nodes in service, in no promised order.
    function getActiveNodes() external view returns (bytes32[] memory nodeIds) {
        return _activeIds;
    }

    /// @notice The id that this owner registered last, active or not; zero if it never registered.
    function getNodeByOwner(address nodeOwner) external view returns (bytes32 nodeId) {
        return _nodeIdByOwner[nodeOwner];
    }

    function isNodeActive(bytes32 nodeId) external view returns (bool active) {
        return _nodes[nodeId].active;
    }

    function getNodeCount() external view returns (uint256 total, uint256 active) {
        return (_allIds.length, _activeIds.length);
    }

    // ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────

    function _requireUrl(string calldata url) private pure {
        uint256 lengthBytes = bytes(url).length;
        if (lengthBytes == 0) revert EmptyUrl();
        if (lengthBytes > MAX_URL_BYTES) revert UrlTooLong(lengthBytes, MAX_URL_BYTES);
    }

    function _requireActiveNodeOfCaller() private view returns (bytes32 nodeId) {
        nodeId = _nodeIdByOwner[msg.sender];
        if (_activePlace[nodeId] == 0) revert OwnerNotRegistered(msg.sender);
    }

    function _requireNode(bytes32 nodeId) private view returns (Node storage node) {
        node = _nodes[nodeId];
        if (node.owner == address(0)) revert NodeNotFound(nodeId);
    }
}
